"""What trained models are judged by beside their own held-out text, one task a file."""
