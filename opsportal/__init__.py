"""Opsportal: act on, understand and correct machine-learning systems in production."""
