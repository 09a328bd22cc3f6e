"""Claims about what survives crashes and outages."""
