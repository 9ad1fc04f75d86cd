"""Who did what and why, which keys changed at which revision, and what still has to happen elsewhere."""
