"""Find the threshold that keeps a promise. For workers only."""
