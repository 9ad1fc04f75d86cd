"""Questions about overrides: what the rankers shall obey, what would happen, and lists for people."""

from opsportal.overrides.selectors.desired import desired_customers, desired_products

__all__ = ["desired_customers", "desired_products"]
