"""Log lines of every service: one shape, on stderr, as readable text or as JSON lines.

Lines of libraries that log through the standard library come out in the same shape. No line may carry personal data:
log ids, never addresses or names.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from leadstream_events.setting_values import LogFormat


def setup(form: LogFormat | str, service: str, *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Sets up logging for this process; `service` stands in every line. Calling it again replaces the set-up."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    as_json = LogFormat(form) is LogFormat.JSON
    target = stream or sys.stderr
    shape: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=target.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([structlog.processors.format_exc_info] if as_json else []),
                shape,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    if root.level != level:  # setting it writes to every logger of the process: in a child, to pages that it shares
        root.setLevel(level)


def get(name: str) -> Any:
    """Returns a logger: `logs.get(__name__).info("what happened", key=value)`."""
    return structlog.stdlib.get_logger(name)


def _named(service: str) -> structlog.types.Processor:
    def add(_: Any, __: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
        line["service"] = service
        return line

    return add
