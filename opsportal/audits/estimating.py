"""Compute the figures of a closed run: labels in, audits.figures.Results out. For workers only."""
