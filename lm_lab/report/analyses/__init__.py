"""Kinds of analysis, one per file or package."""
