"""Ports for the servers of tests: nobody else takes one between the choice and the server's start."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from pathlib import Path

from leadstream_cli.embedded_probe import port_taken

# Below the ports that systems hand out by themselves (from 32,768 on Linux): a connection of another test, which may
# begin at any moment, never has one of these. Redis Cluster adds 10,000 for its bus unless it is told another.
_FIRST, _LAST = 12_000, 22_000
_held: list[int] = []


def free_port() -> int:
    """A TCP port on 127.0.0.1 that no other test is given while this process lives: a locked file stands for it."""
    folder = Path(tempfile.gettempdir(), f"leadstream-test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    while True:
        port = random.randint(_FIRST, _LAST)
        descriptor = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        _held.append(descriptor)
        if not port_taken(port):
            return port
