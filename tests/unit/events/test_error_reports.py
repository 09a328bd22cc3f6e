"""What is reported of an error, how often, and that nobody's data goes along."""

from __future__ import annotations

import io
import json
import logging
import queue
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from leadstream_events import logs
from leadstream_events.error_reports import (
    AGAIN_AFTER_S,
    MOST_A_MINUTE,
    ErrorReports,
    Sparing,
    post_to,
    report_of,
    type_and_place,
)
from leadstream_events.runtime import process
from leadstream_events.settings import Settings, load_settings
from tests.support.http_receiver import receiving
from tests.support.waiting import eventually_sync


def record(msg: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("lib.x", logging.ERROR, __file__, 1, msg, None, info)


def raised() -> ValueError:
    try:
        raise ValueError("dana@example.com is no number")
    except ValueError as error:
        return error


def test_a_line_of_ours_is_reported_with_its_ids() -> None:
    line = {"event": "a send ended in a bug", "level": "error", "timestamp": "t", "service": "mailer", "entry": "1-0"}
    report = report_of(record(line, raised()), "mailer")
    assert report["text"] == "leadstream mailer: a send ended in a bug"
    assert report["fields"]["entry"] == "1-0" and report["fields"]["error"] == "ValueError"
    assert report["fields"]["where"].startswith("test_error_reports.py:")
    assert "dana" not in json.dumps(report)


def test_of_a_library_only_the_loggers_name_goes_out() -> None:
    report = report_of(record("cannot send to dana@example.com"), "api")
    assert report["event"] == "an error in a library" and report["fields"] == {"logger": "lib.x"}


def test_an_error_in_a_group_is_named_by_the_first_in_it() -> None:
    assert type_and_place(ExceptionGroup("several", [raised(), KeyError("x")]))["error"] == "ValueError"


def test_the_same_event_goes_out_once_a_minute_and_no_more_than_ten_of_all() -> None:
    sparing = Sparing()
    assert [sparing.lets("a", at) for at in (0.0, 1.0, AGAIN_AFTER_S - 0.1, AGAIN_AFTER_S)] == [
        True,
        False,
        False,
        True,
    ]
    assert sum(sparing.lets(f"e{number}", AGAIN_AFTER_S + 1) for number in range(50)) == MOST_A_MINUTE - 1
    assert sparing.kept_back == 2 + 50 - (MOST_A_MINUTE - 1)


@pytest.fixture
def receiver() -> Iterator[tuple[str, queue.Queue[str]]]:
    """An HTTP server and what was posted to it; it refuses at /refuse."""
    with receiving() as (base, got):
        yield base, got


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was before afterwards."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)


def test_error_lines_are_posted_and_others_are_not(
    receiver: tuple[str, queue.Queue[str]], root: logging.Logger
) -> None:
    url, got = receiver
    logs.setup("json", "mailer", stream=io.StringIO())
    handler = ErrorReports("mailer", post_to(url))
    root.addHandler(handler)
    log = logs.get("leadstream.test_error_reports")
    log.warning("only a warning")
    log.error("it broke", lead="L1")
    log.error("it broke", lead="L2")
    log.error("it broke otherwise")
    handler.flush()
    first, second = (json.loads(got.get(timeout=20)) for _ in range(2))
    assert (first["event"], first["fields"], first["kept_back"]) == ("it broke", {"lead": "L1"}, 0)
    assert (second["event"], second["kept_back"]) == ("it broke otherwise", 1)
    assert got.empty()


@pytest.mark.parametrize("path", ["/refuse", None])
def test_a_receiver_that_refuses_or_is_gone_is_logged_without_its_address(
    receiver: tuple[str, queue.Queue[str]], root: logging.Logger, path: str | None
) -> None:
    text = io.StringIO()
    logs.setup("json", "mailer", stream=text)
    handler = ErrorReports("mailer", post_to(receiver[0] + path if path else "http://127.0.0.1:1/secret"))
    root.addHandler(handler)
    logs.get("leadstream.test_error_reports_2").error("it broke")
    eventually_sync(lambda: "an error report could not be delivered" in text.getvalue(), "the failure to be said")
    assert "secret" not in text.getvalue() and "refuse" not in text.getvalue()


def test_the_setting_takes_urls_alone_and_is_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_ERROR_WEBHOOK", "https://hooks.example.com/T0/secret")
    assert load_settings().masked()["error_webhook"] == "***"
    with pytest.raises(ValidationError, match="http:// or https://"):
        Settings.model_validate({"error_webhook": "file:///etc/passwd"})


def test_a_service_that_ends_by_a_bug_says_where_and_quotes_nobody(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: Settings) -> None:
        raise raised()

    with pytest.raises(ValueError, match="no number"):
        process.serve("mailer", Settings(), broken)
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "ends because of a bug" in text]
    assert "error=ValueError" in line and "where=test_error_reports.py:" in line
    assert "dana" not in line
