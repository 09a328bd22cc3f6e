"""Tells whether the server at an address is the one we started, and whether it takes commands.

Speaks inline commands (Redis protocol specification, "Inline commands") over a plain socket, so starting a server
does not need the client library. A port proves nothing by itself: another server may have taken it first.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 1.0
_PROCESS_ID = re.compile(rb"^process_id:(\d+)\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: a unix socket, or a TCP port on 127.0.0.1."""

    socket_path: Path | None = None
    port: int = 0

    @property
    def url(self) -> str:
        """The address in redis-py's form."""
        return f"unix://{self.socket_path}" if self.socket_path else f"redis://127.0.0.1:{self.port}/0"

    @property
    def options(self) -> tuple[str, ...]:
        """The server options that make it listen here and nowhere else."""
        if self.socket_path:
            return ("--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700")
        return ("--port", str(self.port))

    def connect(self) -> socket.socket:
        """Returns a connected socket; OSError when nobody listens."""
        if self.socket_path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_TIMEOUT_S)
            try:
                connection.connect(str(self.socket_path))
            except OSError:
                connection.close()
                raise
            return connection
        return socket.create_connection(("127.0.0.1", self.port), timeout=_TIMEOUT_S)


def probe(endpoint: Endpoint, pid: int) -> bool:
    """True when the server at the endpoint has this process id and answers PING: not LOADING, not MISCONF."""
    try:
        with endpoint.connect() as connection:
            found = _PROCESS_ID.search(_ask(connection, b"INFO server"))
            return found is not None and int(found[1]) == pid and _ask(connection, b"PING").startswith(b"+PONG")
    except OSError:
        return False


def _ask(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command + b"\r\n")
    with connection.makefile("rb") as replies:
        line = replies.readline()
        if not line.startswith(b"$"):
            return line
        return replies.read(int(line[1:]) + 2)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago; somebody else may take it before the server does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def port_taken(port: int) -> bool:
    """True when 127.0.0.1 has a listener on the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
