"""Which products were seen, and how often each was shown on each surface."""

from typing import ClassVar

from django.db import models


class Product(models.Model):
    """A product that some ranker has shown. IDs are text: `00701` stays `00701`, `85123A` is not `85123a`."""

    product_id = models.CharField(max_length=128, primary_key=True)
    title = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.product_id


class Impressions(models.Model):
    """How often a product was shown and clicked on one surface on one day (UTC)."""

    # Its index is that of the unique day, which begins with it.
    product = models.ForeignKey(Product, on_delete=models.CASCADE, db_index=False)
    surface = models.CharField(max_length=64)
    day = models.DateField()
    shown = models.PositiveIntegerField()
    clicked = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["product", "surface", "day"], name="impressions_per_day"),
            models.CheckConstraint(
                condition=models.Q(clicked__lte=models.F("shown")), name="impressions_clicks_within_shown"
            ),
        ]
        indexes: ClassVar = [
            # The share of the last week that a submission touches.
            models.Index(fields=["day", "surface"], name="impressions_week"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} on {self.day}"
