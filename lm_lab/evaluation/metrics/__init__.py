"""Measures of a trained model other than its likelihood, one metric per file."""
