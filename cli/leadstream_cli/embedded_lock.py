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
_MAX_BYTES = 512


class DirectoryLock:
    """A held lock. `descriptor` is for the server process to inherit."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        # The socket directory of an owner that was killed before it could remove it.
        self.left_behind = _read_socket_dir(descriptor)

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

    def write_owner(self, server_pid: int = 0, socket_dir: Path | None = None) -> None:
        """Writes who holds the directory, and what the next owner must remove should this one be killed."""
        line = b"%d %d %s\n" % (os.getpid(), server_pid, os.fsencode(socket_dir) if socket_dir else b"")
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, line, 0)

    def release(self) -> None:
        """Gives the directory free, unless the server still holds it. May be called twice."""
        if self.descriptor >= 0:
            os.ftruncate(self.descriptor, 0)
            os.close(self.descriptor)
            self.descriptor = -1


def _read_owner(descriptor: int) -> int:
    parts = os.pread(descriptor, _MAX_BYTES, 0).split()
    return int(parts[0]) if parts and parts[0].isdigit() else 0


def _read_socket_dir(descriptor: int) -> Path | None:
    parts = os.pread(descriptor, _MAX_BYTES, 0).rstrip(b"\n").split(b" ", 2)
    return Path(os.fsdecode(parts[2])) if len(parts) == 3 and parts[2] else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
