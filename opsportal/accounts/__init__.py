"""People, their roles, and keys for machines."""
