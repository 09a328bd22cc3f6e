"""A parent with small children that need no Redis: `python -m tests.support.family steady|mute|refuses ...`.

`steady` works; `mute` says that it is ready, and then nothing any more; `refuses` finds its settings wrong once the
file in FAMILY_REFUSE is there, and works before; `deaf` ignores SIGTERM. `answers` and `dawdles` have a socket each at
the port in FAMILY_PORT, and tell callers their name; `answers` refuses like `refuses`, and `dawdles` does not listen
as long as the file in FAMILY_DAWDLE is there.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from leadstream_api.server import another_at
from leadstream_cli.serving.children import Child, Listening
from leadstream_cli.serving.parent import Parent
from leadstream_events import logs
from leadstream_events.errors import ConfigurationError
from leadstream_events.notify import Notifier

_DRAIN_S = 3.0


def steady() -> None:
    """Ends well on SIGTERM."""
    _go_on(partial(time.sleep, 0.25))


def _go_on(turn: Callable[[], None]) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    notifier = Notifier.from_environment(None)
    notifier.ready()
    while not ended:
        notifier.alive()
        turn()


def mute() -> None:
    """Hangs."""
    Notifier.from_environment(None).ready()
    time.sleep(3600)


def deaf() -> None:
    """Does not drain."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    notifier = Notifier.from_environment(None)
    notifier.ready()
    while True:
        notifier.alive()
        time.sleep(0.25)


def refuses() -> None:
    """Its settings are wrong from some moment on."""
    _refuse_settings()
    steady()


def answers(listening: Listening) -> None:
    """Answers callers, until its settings are wrong."""
    _refuse_settings()
    _answer(listening, "answers")


def dawdles(listening: Listening) -> None:
    """Answers callers, once it may listen."""
    notifier = Notifier.from_environment(None)
    while Path(os.environ["FAMILY_DAWDLE"]).exists():
        notifier.alive()
        time.sleep(0.05)
    _answer(listening, "dawdles")


def _refuse_settings() -> None:
    if Path(os.environ["FAMILY_REFUSE"]).exists():
        raise ConfigurationError("LEADSTREAM_LEASE: must be a duration")


def _answer(listening: Listening, name: str) -> None:
    listening.sock.listen()
    listening.sock.settimeout(0.25)

    def turn() -> None:
        with suppress(TimeoutError), listening.sock.accept()[0] as caller:
            caller.sendall(name.encode())

    _go_on(turn)


def _children(names: list[str]) -> list[Child]:
    works = {"steady": steady, "mute": mute, "deaf": deaf, "refuses": refuses}
    listeners = {"answers": answers, "dawdles": dawdles}
    children: list[Child] = []
    first: socket.socket | None = None
    for name in names:
        if name in works:
            children.append(Child(name, works[name]))
            continue
        sock = another_at(first) if first else socket.create_server(("127.0.0.1", int(os.environ["FAMILY_PORT"])))
        first = first or sock
        listening = Listening(sock, another_at)
        children.append(Child(name, partial(listeners[name], listening), listening))
    return children


def main() -> int:
    """Runs the children named on the command line."""
    logs.setup("json", "serve")
    children = _children(sys.argv[1:])
    silent_s = float(os.environ.get("FAMILY_SILENT_S", "30"))
    return Parent(children, Notifier.from_environment(None), stop_within_s=_DRAIN_S, silent_s=silent_s).run()


if __name__ == "__main__":
    sys.exit(main())
