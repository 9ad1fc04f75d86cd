"""Rank what is most likely wrong, for targeted runs. For workers only."""
