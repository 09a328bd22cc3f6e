"""Where children say that they are ready and alive: a datagram socket that speaks sd_notify(3), as systemd's does.

The kernel vouches for who said it (SCM_CREDENTIALS, unix(7)), so nobody else can speak for a child. Linux only.
"""

from __future__ import annotations

import socket
import struct

_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
_MAX_BYTES = 4096


class Words:
    """Listens on an address that the kernel chooses and that is in no file system."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("")
        self.address = "@" + self._socket.getsockname()[1:].decode()

    def heard(self) -> list[tuple[int, str]]:
        """Everything that was said since the last call, with the pid of who said it; never waits."""
        found: list[tuple[int, str]] = []
        while True:
            try:
                words, extra, _, _ = self._socket.recvmsg(_MAX_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return found
            for level, kind, data in extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    found.append((_CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0], words.decode("utf-8", "replace")))

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stops listening."""
        self._socket.close()
