"""Runs the API under uvicorn as a process of its own.

The ready line is printed once connections are really taken. SIGTERM and SIGINT end the process with exit code 0
within seconds, whatever Redis does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvloop

from leadstream_api.lean_web import uvicorn  # before litestar  # isort: skip
from uvicorn.server import Server as _Server

from leadstream_api.app import create_app
from leadstream_events import logs
from leadstream_events.error_reports import report_errors
from leadstream_events.errors import ConfigurationError
from leadstream_events.garbage import keep_what_is_loaded
from leadstream_events.notify import Notifier
from leadstream_events.settings import Settings
from leadstream_events.tracing import recording

_GRACE_S = 5
_KEEP_ALIVE_S = 30
_BACKLOG = 2048


class Server(_Server):
    """uvicorn's server, but a signal ends it with exit code 0: uvicorn raises the signal again at its end."""

    def __init__(self, config: uvicorn.Config, ready: str, notifier: Notifier) -> None:
        super().__init__(config)
        self._ready, self._notifier = ready, notifier

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then says so on stderr and to the supervisor."""
        await super().startup(sockets)
        if self.started:
            sys.stderr.write(f"api ready on {self._ready}\n")
            sys.stderr.flush()
            self._notifier.ready()

    async def main_loop(self) -> None:
        """Serves until asked to end, and passes the word on."""
        await super().main_loop()
        self._notifier.stopping()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to stop. Live views end at once: a graceful end waits for answers, and theirs never end."""
        super().handle_exit(sig, frame)
        live = getattr(self.config.app.state, "live", None)  # type: ignore[union-attr]
        if live is not None:
            live.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal asks for a graceful end, the second one for an end at once."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def require_safe_bind(settings: Settings, host: str) -> None:
    """Raises `ConfigurationError` when anybody could reach an API that asks for no key."""
    if settings.api_keys_file is None and not _is_loopback(host):
        raise ConfigurationError(
            f"LEADSTREAM_API_KEYS_FILE is not set, so the API binds to loopback only, not to {host}: "
            "set it, or set LEADSTREAM_API_HOST to 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Returns a bound socket; `ConfigurationError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return _bound(family, (host, port), socket.SO_REUSEADDR)
    except OSError as error:
        raise ConfigurationError(
            f"LEADSTREAM_API_HOST, LEADSTREAM_API_PORT: cannot listen on {host}:{port}: {error.strerror}"
        ) from None


def _bound(family: int, address: Any, *options: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


def open_address(settings: Settings) -> socket.socket:
    """Returns a socket bound to `API_HOST` and `API_PORT`; port 0 takes a free one.

    Raises `ConfigurationError` when the address is not safe or cannot be had.
    """
    require_safe_bind(settings, settings.api_host)
    return listen(settings.api_host, settings.api_port)


def another_at(listening: socket.socket) -> socket.socket:
    """Returns a second socket at the same address: the kernel spreads connections over those that listen.

    SO_REUSEPORT, socket(7). It is set only now, so that an address which somebody else has is refused as ever.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return _bound(listening.family, listening.getsockname(), socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def serve(settings: Settings, *, listening: socket.socket | None = None, app: Any = None) -> None:
    """Serves until SIGTERM or SIGINT; the ready line names the address.

    `listening` and `app`: what `open_address` and `create_app` would return. Raises `ConfigurationError` as they do.
    """
    logs.setup(settings.log_format, "api")
    report_errors(settings.error_webhook, "api")
    notifier = Notifier.from_environment(settings.heartbeat_file)
    sock = listening or open_address(settings)
    host, port = sock.getsockname()[:2]
    shown = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = Server(_config(app or create_app(settings), notifier), shown, notifier)
    keep_what_is_loaded()
    with recording(settings.otel_exporter, "api"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[sock]))


def _config(app: Any, notifier: Notifier) -> uvicorn.Config:
    async def alive() -> None:
        notifier.alive()

    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_notify=max(0, int(notifier.every_s) - 1),  # uvicorn looks once a second whether more has passed
        callback_notify=alive,
    )
