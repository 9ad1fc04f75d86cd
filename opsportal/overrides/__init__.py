"""What people want the rankers to do differently: intent, sign-off, effect."""
