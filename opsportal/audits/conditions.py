"""Conditions of rules: checked, worded and evaluated. Patterns are RE2: linear time, whatever is written."""
