"""Verbs that write audits. Each is one transaction with its event and its outbox message."""
