"""Which services run here, and what each child does. What they import is imported by the parent, before it forks."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from leadstream_events.errors import ConfigurationError
from leadstream_events.listening import parse_host_port
from leadstream_events.runtime import process
from leadstream_events.settings import Settings

API = "api"
MODULES = {
    API: "leadstream_api.server",
    "fanout": "leadstream_mailer.fanout",
    "mailer": "leadstream_mailer.service",
    "projections": "leadstream_projections.service",
    "archiver": "leadstream_archiver.service",
    "bounces": "leadstream_bounces.service",
}
# What is loaded only when it is used: each child would hold it for itself.
_LATE = {
    API: (
        "uvicorn.protocols.http.httptools_impl",
        "uvicorn.lifespan.on",
        "anyio._backends._asyncio",
        "leadstream_mail.early",
    ),
    "mailer": ("leadstream_mail.early",),
    "projections": ("leadstream_projections.early",),
}
_LAST_PORT = 65_535


@dataclass(slots=True)
class Listening:
    """What one child listens on. Several children at one address have a socket each: on a shared one whichever is
    awake would take all connections. It stays open in its child and in the parent; the other children close it.
    """

    sock: socket.socket
    another: Callable[[socket.socket], socket.socket]

    @property
    def is_open(self) -> bool:
        """False after `leave`, or another one's `take`, until `join` or `take`."""
        return self.sock.fileno() >= 0

    def leave(self) -> None:
        """Whoever would wait here is sent to the other sockets of the address."""
        self.sock.close()

    def join(self, other: Listening) -> None:
        """Takes part again, beside another one that is open, once it listens."""
        self.sock = self.another(other.sock)

    def take(self, other: Listening) -> None:
        """Takes over another's open socket and whoever waits there; the other has left, then."""
        self.sock, other.sock = other.sock, self.sock


@dataclass(frozen=True, slots=True)
class Child:
    """A process to be. `work` runs in it until SIGTERM, and may raise `ConfigurationError`."""

    name: str
    work: Callable[[], None]
    listening: Listening | None = None


def configured(settings: Settings) -> list[str]:
    """Every service that the settings ask for, in the order in which they start."""
    wanted = {
        "archiver": settings.archive_url is not None,
        "bounces": settings.return_path is not None or settings.abuse_to is not None,
    }
    return [name for name in MODULES if wanted.get(name, True)]


def names_of(services: Sequence[str]) -> list[str]:
    """One name per process: `mailer`, or `mailer-1` and `mailer-2` where the service is there twice."""
    many, seen = Counter(services), Counter[str]()
    names = []
    for service in services:
        seen[service] += 1
        names.append(service if many[service] == 1 else f"{service}-{seen[service]}")
    return names


def with_own_metrics(settings: Settings, place: int) -> Settings:
    """The settings of the n-th child (from 0) that answers its metrics: each has the next port; 0 takes a free one."""
    address = parse_host_port(settings.metrics_listen)
    if address is None or address[1] == 0:
        return settings
    host, port = address[0], address[1] + place
    if port > _LAST_PORT:
        raise ConfigurationError(
            f"LEADSTREAM_METRICS_LISTEN: port {address[1]} leaves no port for child {place + 1}: set a lower one"
        )
    return settings.model_copy(update={"metrics_listen": f"{f'[{host}]' if ':' in host else host}:{port}"})


def make_children(
    services: Sequence[str], settings: Settings, *, around: Callable[[Any], Any] | None = None
) -> list[Child]:
    """Loads what the services need and opens the API's address; `ConfigurationError` when that cannot be had.

    `around` may put an ASGI application around the API's.
    """
    for name in [name for service in services for name in (MODULES[service], *_LATE.get(service, ()))]:
        import_module(name)
    settings = settings.model_copy(update={"heartbeat_file": None})  # the parent answers for all of them
    children, place = [], 0
    app: Any = None
    listening: Listening | None = None
    for name, service in zip(names_of(services), services, strict=True):
        module = import_module(MODULES[service])
        if service == API:
            if listening is None:
                listening = Listening(module.open_address(settings), module.another_at)
                app = module.create_app(settings)
                app = around(app) if around else app
            else:
                listening = Listening(module.another_at(listening.sock), module.another_at)
            children.append(Child(name, partial(_serve, module, settings, listening, app), listening))
        else:
            own, place = with_own_metrics(settings, place), place + 1
            children.append(Child(name, partial(process.serve, service, own, module.run)))
    return children


def _serve(api: Any, settings: Settings, listening: Listening, app: Any) -> None:
    api.serve(settings, listening=listening.sock, app=app)
