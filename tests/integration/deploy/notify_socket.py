"""The socket on which systemd listens, for tests: what a service says arrives here word by word."""

from __future__ import annotations

import queue
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

_FORGET, _END = "forget what was before this", "the end"


class NotifySocket:
    """Binds a datagram socket; `path` goes into NOTIFY_SOCKET. Its folder is short: such paths end at 108 bytes.

    A thread takes each word at once, as systemd does: the kernel keeps ten at most, and whoever speaks does not wait.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ls"))
        self.path = str(self._folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._words: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._listen, name="systemd", daemon=True)

    def __enter__(self) -> NotifySocket:
        self._socket.bind(self.path)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._say(_END)
        self._thread.join()
        self._socket.close()
        shutil.rmtree(self._folder)

    def _listen(self) -> None:
        while (word := self._socket.recv(4096).decode()) != _END:
            self._words.put(word)

    def _say(self, word: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(word.encode(), self.path)

    def receive(self, within_s: float = 60.0) -> str:
        """The next word; TimeoutError when none comes."""
        try:
            return self._words.get(timeout=within_s)
        except queue.Empty:
            raise TimeoutError(f"nothing was said for {within_s:g} s") from None

    def receive_until(self, word: str, within_s: float = 60.0) -> list[str]:
        """Every word up to and with this one; TimeoutError when it does not come."""
        until_s = time.monotonic() + within_s
        heard = [self.receive(within_s)]
        while heard[-1] != word:
            heard.append(self.receive(max(0.0, until_s - time.monotonic())))
        return heard

    def forget(self) -> None:
        """Drops every word that was said before now."""
        self._say(_FORGET)
        self.receive_until(_FORGET)
