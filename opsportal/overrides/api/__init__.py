"""Blocks, boosts, opt-outs and submissions over REST: the same services as the screens."""
