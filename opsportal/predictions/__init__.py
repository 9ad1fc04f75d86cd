"""Products seen and how often they were shown."""
