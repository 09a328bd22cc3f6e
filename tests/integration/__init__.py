"""Claims that need a real server or a real process."""
