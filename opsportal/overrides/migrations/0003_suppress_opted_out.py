"""Customers who opted out of personalisation before predictions were kept: none may be taken in about them."""

from django.db import migrations


def suppress(apps, schema_editor):
    OptOut = apps.get_model("overrides", "OptOut")
    Suppression = apps.get_model("predictions", "Suppression")
    opted_out = OptOut.objects.filter(closed_at=None, personalisation=True)
    rows = opted_out.order_by("pk").values_list("customer_key", "created_at").iterator(chunk_size=2_000)
    Suppression.objects.bulk_create(
        (Suppression(customer_key=key, since=since) for key, since in rows),
        batch_size=2_000,
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):

    dependencies = [
        ("overrides", "0002_surface_everywhere"),
        ("predictions", "0002_models_and_predictions"),
    ]

    operations = [migrations.RunPython(suppress, migrations.RunPython.noop)]
