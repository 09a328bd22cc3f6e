"""One way to run a service as a process, for containers, units and the command line alike.

SIGTERM and SIGINT drain it and give exit code 0; a wrong setting is one line on stderr and exit code 2.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from structlog.stdlib import get_logger

from leadstream_events import logs
from leadstream_events.error_reports import report_errors, type_and_place
from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import Settings, load_settings
from leadstream_events.tracing import recording

logger = get_logger("leadstream.service")

DONE, WRONG_USE = 0, 2

Run = Callable[[Settings], Coroutine[Any, Any, None]]


def serve(service: str, settings: Settings, run: Run, *, prepare: Callable[[], None] | None = None) -> None:
    """Sets up logs, calls `prepare`, and runs the service to its end. Raises `ConfigurationError`; a bug passes."""
    logs.setup(settings.log_format, service)
    report_errors(settings.error_webhook, service)
    if prepare is not None:
        prepare()
    with recording(settings.otel_exporter, service), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(run(settings))
        except ConfigurationError:
            raise
        except Exception as error:
            logger.error("the service ends because of a bug", **type_and_place(error))
            raise


def main(service: str, work: Callable[[Settings], None]) -> int:
    """Loads the settings and does the work; returns the exit code: 0, or 2 after a line for each wrong setting."""
    return exit_code(service, lambda: work(load_settings()))


def exit_code(service: str, work: Callable[[], None]) -> int:
    """Does the work; returns 0, or 2 after a line on stderr for each wrong setting. A bug passes through."""
    try:
        work()
    except ConfigurationError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"leadstream {service}: {line}\n")
        return WRONG_USE
    return DONE
