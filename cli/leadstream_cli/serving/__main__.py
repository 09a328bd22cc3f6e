"""`python -m leadstream_cli.serving [SERVICE...]`: what `leadstream serve` becomes, with no command line loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leadstream_cli.errors_text import WRONG_USE
from leadstream_cli.serving.children import MODULES, Child, configured, make_children
from leadstream_cli.serving.parent import Parent
from leadstream_events import logs
from leadstream_events.errors import ConfigurationError
from leadstream_events.notify import Notifier
from leadstream_events.runtime import process
from leadstream_events.settings import Settings, load_settings

PROGRAM = "serve"
# What services may take to end beyond the drain deadline before they are killed.
_BEYOND_DRAIN_S = 5.0


def keep(children: Sequence[Child], settings: Settings) -> int:
    """Runs these children until a signal; returns the exit code."""
    within_s = settings.drain_deadline + _BEYOND_DRAIN_S
    return Parent(children, Notifier.from_environment(settings.heartbeat_file), stop_within_s=within_s).run()


def serve(services: Sequence[str], settings: Settings) -> int:
    """Runs these services, or all that the settings ask for, until a signal; returns the exit code."""
    if not sys.platform.startswith("linux"):
        raise ConfigurationError("serve needs Linux: start each service as a process of its own (leadstream api, ...)")
    logs.setup(settings.log_format, PROGRAM)
    return keep(make_children(services or configured(settings), settings), settings)


def main(args: Sequence[str]) -> int:
    """Returns the exit code: 0 after a signal, 2 on a wrong setting or argument."""
    if unknown := set(args) - MODULES.keys():
        sys.stderr.write(f"leadstream {PROGRAM}: no service {min(unknown)!r}: choose from {', '.join(MODULES)}\n")
        return WRONG_USE
    codes: list[int] = []
    return process.exit_code(PROGRAM, lambda: codes.append(serve(args, load_settings()))) or codes[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
