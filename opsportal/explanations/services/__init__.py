"""Verbs about explanations. Computing is the workers' business: see `explanations.explaining`."""
