"""REST: explanations."""
