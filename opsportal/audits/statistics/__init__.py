"""Statistics of audits: arrays in, numbers out. No Django in here; only workers import it."""
