"""A parent with small children that need no Redis: `python -m tests.support.family steady|mute|refuses ...`.

`steady` works; `mute` says that it is ready, and then nothing any more; `refuses` finds its settings wrong once the
file in FAMILY_REFUSE is there, and ends by itself before; `deaf` ignores SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from leadstream_cli.serving.children import Child
from leadstream_cli.serving.parent import Parent
from leadstream_events import logs
from leadstream_events.errors import ConfigurationError
from leadstream_events.notify import Notifier

_SILENT_S, _DRAIN_S = 2.0, 1.0


def steady() -> None:
    """Ends well on SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    notifier = Notifier.from_environment(None)
    notifier.ready()
    while not ended:
        notifier.alive()
        time.sleep(0.05)


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
        time.sleep(0.05)


def refuses() -> None:
    """Its settings are wrong from some moment on."""
    if Path(os.environ["FAMILY_REFUSE"]).exists():
        raise ConfigurationError("LEADSTREAM_LEASE: must be a duration")
    steady()


def main() -> int:
    """Runs the children named on the command line."""
    logs.setup("json", "serve")
    works = {"steady": steady, "mute": mute, "deaf": deaf, "refuses": refuses}
    children = [Child(name, works[name]) for name in sys.argv[1:]]
    return Parent(children, Notifier.from_environment(None), stop_within_s=_DRAIN_S, silent_s=_SILENT_S).run()


if __name__ == "__main__":
    sys.exit(main())
