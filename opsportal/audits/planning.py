"""How many items a promise takes, and how long people need for them. Pure Python: forms ask it."""
