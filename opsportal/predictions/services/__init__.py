"""Verbs that write models and predictions. Each is one transaction with its event."""
