"""Claims about pure code: no server, no socket, no clock."""
