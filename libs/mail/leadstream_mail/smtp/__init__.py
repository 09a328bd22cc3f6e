"""The SMTP edge: one answer out of a closed set for every mail handed to a server."""
