"""Compute the figures of a closed run: labels in, audits.figures.Results out. For workers only.

`results` holds the body of the task. The package itself loads nothing, for whoever only looks around.
"""
