"""Claims about what is counted."""
