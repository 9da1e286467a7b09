"""Tasks that evaluate trained models beside their own held-out text, one per file."""
