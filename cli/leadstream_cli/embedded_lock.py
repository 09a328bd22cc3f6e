"""Lets one owner at a time have a data directory.

The lock is flock(2) on a file that is never deleted. It belongs to the open file, so it is shared with the server
that inherits the descriptor, and the kernel frees it when the last holder is gone, however that ended.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from leadstream_events.errors import ConfigurationError

LOCK_NAME = "server.lock"
_GRACE_S = 5.0
_POLL_S = 0.02


class DirectoryLock:
    """A held lock. `descriptor` is for the server process to inherit."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, data_dir: Path) -> DirectoryLock:
        """Makes the directory if need be (mode 0700: it holds personal data) and locks it.

        While the recorded owner runs, raises `ConfigurationError` at once; when it is gone but its server is still on
        its way out, waits up to 5 s.
        """
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"LEADSTREAM_DATA_DIR: {data_dir} cannot be used: {error.strerror}") from None
        try:
            cls._lock(descriptor, data_dir)
        except BaseException:
            os.close(descriptor)
            raise
        held = cls(descriptor)
        held.write_owner()
        return held

    @staticmethod
    def _lock(descriptor: int, data_dir: Path) -> None:
        deadline = time.monotonic() + _GRACE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                owner = _read_owner(descriptor)
            if (owner and _runs(owner)) or time.monotonic() > deadline:
                by = f"process {owner}" if owner else "another process"
                raise ConfigurationError(
                    f"LEADSTREAM_DATA_DIR: {data_dir} is in use by {by}: stop it, or choose another directory"
                )
            time.sleep(_POLL_S)

    def write_owner(self, server_pid: int = 0) -> None:
        """Writes who holds the directory: for the error message of the next one and for people."""
        line = f"{os.getpid()} {server_pid}\n".encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, line, 0)

    def release(self) -> None:
        """Gives the directory free, unless the server still holds it. May be called twice."""
        if self.descriptor >= 0:
            os.ftruncate(self.descriptor, 0)
            os.close(self.descriptor)
            self.descriptor = -1


def _read_owner(descriptor: int) -> int:
    parts = os.pread(descriptor, 64, 0).split()
    return int(parts[0]) if parts and parts[0].isdigit() else 0


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
