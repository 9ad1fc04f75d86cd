"""Questions about audits. They change nothing."""
