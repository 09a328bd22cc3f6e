"""The socket on which systemd listens, for tests: what a service says arrives here word by word."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType


class NotifySocket:
    """Binds a datagram socket; `path` goes into NOTIFY_SOCKET. Its folder is short: such paths end at 108 bytes."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ls"))
        self.path = str(self._folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> NotifySocket:
        self._socket.bind(self.path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
        shutil.rmtree(self._folder)

    def receive(self, within_s: float = 20.0) -> str:
        """The next word; TimeoutError when none comes."""
        self._socket.settimeout(within_s)
        return self._socket.recv(4096).decode()

    def receive_until(self, word: str) -> list[str]:
        """Every word up to and with this one."""
        heard = [self.receive()]
        while heard[-1] != word:
            heard.append(self.receive())
        return heard

    def waiting(self) -> bool:
        """True when a word is there that nobody has read."""
        self._socket.setblocking(False)
        try:
            return bool(self._socket.recv(4096, socket.MSG_PEEK))
        except BlockingIOError:
            return False
