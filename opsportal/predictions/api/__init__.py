"""REST: predictions."""
