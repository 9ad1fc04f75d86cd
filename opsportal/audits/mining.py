"""Find patterns that errors have in common. For workers only."""
