"""A researcher's own package: every file adds one thing, and lm_lab finds it by dotted path."""
