"""Tells a URL of the operator's what goes wrong: log lines at level error, as JSON, and not often.

What is posted is what our own log lines say: ids, causes, types of errors, and nothing personal. Of a library's line
only the logger's name goes out, for nobody knows what stands in its text. A thread of its own posts, so that no service
waits; a report that cannot be delivered is logged and gone. Nothing is promised but the log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from pydantic import SecretStr
from structlog.stdlib import get_logger

AGAIN_AFTER_S = 60.0
MOST_A_MINUTE = 10
_TIMEOUT_S = 5.0
_LAST_WORDS_S = 3.0
_MOST_WAITING = 20
_LONGEST = 300
_NO_FIELDS = frozenset(("event", "level", "timestamp", "service", "exc_info"))

logger = get_logger("leadstream.errors")

Report = Mapping[str, object]
Post = Callable[[Report], None]


def report_of(record: logging.LogRecord, service: str) -> dict[str, Any]:
    """The report of a log line: `event` says what, `fields` which ids and causes."""
    line = record.msg if isinstance(record.msg, dict) else None
    event = str(line["event"]) if line and "event" in line else "an error in a library"
    fields = {name: str(value)[:_LONGEST] for name, value in line.items() if name not in _NO_FIELDS} if line else {}
    if line is None:
        fields["logger"] = record.name
    if record.exc_info and record.exc_info[1]:
        fields |= type_and_place(record.exc_info[1])
    return {
        "text": f"leadstream {service}: {event}",
        "service": service,
        "event": event,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
        "fields": fields,
    }


def type_and_place(error: BaseException) -> dict[str, str]:
    """An error by its type and where it was raised. Its text may hold somebody's data and is left out."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return {"error": type(error).__name__, "where": where}


class Sparing:
    """Lets an event through once a minute, and ten of all in a minute; counts what it keeps back."""

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}
        self.kept_back = 0

    def lets(self, event: str, now_s: float) -> bool:
        """True when it may be posted now."""
        self._last_s = {name: at for name, at in self._last_s.items() if now_s - at < AGAIN_AFTER_S}
        if event in self._last_s or len(self._last_s) >= MOST_A_MINUTE:
            self.kept_back += 1
            return False
        self._last_s[event] = now_s
        return True


class ErrorReports(logging.Handler):
    """Posts error lines. `flush` (which logging calls at the end of the process) waits up to three seconds for them."""

    def __init__(self, service: str, post: Post) -> None:
        super().__init__(logging.ERROR)
        self._service, self._post, self._sparing = service, post, Sparing()
        self._waiting: queue.Queue[Report] = queue.Queue(_MOST_WAITING)
        self._poster: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits and never raises."""
        report = report_of(record, self._service)
        if not self._sparing.lets(str(report["event"]), time.monotonic()):
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(report | {"kept_back": self._sparing.kept_back})
            self._sparing.kept_back = 0
        if self._poster is None:
            self._poster = threading.Thread(target=self._post_forever, name="error-reports", daemon=True)
            self._poster.start()

    def flush(self) -> None:
        """Gives the last words a moment."""
        until_s = time.monotonic() + _LAST_WORDS_S
        while self._waiting.unfinished_tasks and time.monotonic() < until_s:
            time.sleep(0.02)

    def _post_forever(self) -> None:
        while True:
            report = self._waiting.get()
            try:
                self._post(report)
            except Exception as error:  # whatever the network does: this must not end, and must not report itself
                logger.warning("an error report could not be delivered", error=type(error).__name__)
            finally:
                self._waiting.task_done()


def post_to(url: str) -> Post:
    """Posts JSON (RFC 9110 section 9.3.3). OSError and its kind where nobody answers 2xx."""

    def post(report: Report) -> None:
        request = urllib.request.Request(  # noqa: S310 - the setting takes http and https alone
            url, json.dumps(report).encode(), {"Content-Type": "application/json", "User-Agent": "leadstream"}
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            pass

    return post


def report_errors(url: SecretStr | None, service: str) -> None:
    """Begins to report to the URL; call it after the logs are set up. None: nobody wants to know."""
    if url is not None:
        logging.getLogger().addHandler(ErrorReports(service, post_to(url.get_secret_value())))
