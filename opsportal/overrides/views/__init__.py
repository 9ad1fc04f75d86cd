"""Pages of overrides, split by noun."""
