"""Desired state to the serving store, and decisions back from it."""
