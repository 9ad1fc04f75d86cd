"""Errors, clock, HTTP plumbing and template tags; no domain words."""
