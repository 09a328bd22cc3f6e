"""Replies are sorted into a closed set, and what is kept of them is storable and names nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events.errors import ConfigurationError
from leadstream_mail.smtp.breaker import LONGEST_PAUSE_S, Breaker
from leadstream_mail.smtp.endpoint import Endpoint, Tls, parse_smtp_url
from leadstream_mail.smtp.outcome import (
    Accepted,
    Cause,
    Deferred,
    LeaseLost,
    Phase,
    Refused,
    Unreachable,
    from_reply,
    unreachable,
)
from leadstream_mail.smtp.reply import clean_line, enhanced_code
from leadstream_mail.smtp.session import dot_stuffed


@given(st.binary(max_size=2000))
def test_a_reply_of_any_bytes_becomes_one_storable_line(raw: bytes) -> None:
    """Case 056."""
    line = clean_line(raw.decode("utf-8", "surrogateescape"))
    assert line.encode("utf-8").decode("utf-8") == line
    assert line.isprintable() or not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in line)
    assert len(line) <= 500


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("5.1.1 <dana@example.com>: unknown", "5.1.1 <address>: unknown"),
        ("no such user søren@bücher.example here", "no such user <address> here"),
        ("[s1@example.com]: rejected", "[<address>]: rejected"),
        ("to=a@b.example,from=c@d.example", "to=<address>,from=<address>"),
        ("queued\x00as\r\n 12", "queued as 12"),
    ],
)
def test_addresses_and_controls_are_masked(text: str, line: str) -> None:
    assert clean_line(text) == line


@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (550, "5.1.1 The account does not exist.\n5.1.1 Check for typos\n5.1.1 ref x1 - gsmtp", "5.1.1"),
        (550, "no code here\n5.7.1 but here", "5.7.1"),
        (550, "4.2.0 of another class", None),
        (450, "4.2.0 greylisted", "4.2.0"),
        (550, "5.1.1.1 an address", None),
        (550, "", None),
        (250, "2.0.0 ok", "2.0.0"),
    ],
)
def test_enhanced_codes_are_read_by_rfc_3463(code: int, text: str, enhanced: str | None) -> None:
    """Case 057."""
    assert enhanced_code(code, text) == enhanced


@pytest.mark.parametrize(
    ("phase", "code", "text", "fresh", "kind", "cause"),
    [
        (Phase.BANNER, 554, "no", True, Unreachable, Cause.SERVER_REFUSES),
        (Phase.BANNER, 421, "busy", True, Unreachable, Cause.SERVER_BUSY),
        (Phase.EHLO, 550, "no", True, Unreachable, Cause.SERVER_REFUSES),
        (Phase.TLS, 454, "no", True, Unreachable, Cause.TLS_FAILED),
        (Phase.AUTH, 535, "5.7.8 bad", True, Unreachable, Cause.AUTH_FAILED),
        (Phase.AUTH, 454, "4.7.0 later", True, Unreachable, Cause.SERVER_BUSY),
        (Phase.MAIL, 530, "5.7.0 authenticate first", True, Unreachable, Cause.AUTH_REQUIRED),
        (Phase.MAIL, 550, "5.7.0 log in", False, Unreachable, Cause.AUTH_REQUIRED),
        (Phase.MAIL, 421, "busy", True, Unreachable, Cause.SERVER_BUSY),
        (Phase.MAIL, 550, "5.7.1 not you", True, Refused, Cause.POLICY),
        (Phase.MAIL, 451, "later", True, Deferred, Cause.DEFERRED),
        (Phase.RCPT, 450, "4.2.0 greylisted", True, Deferred, Cause.DEFERRED),
        (Phase.RCPT, 421, "busy", True, Deferred, Cause.DEFERRED),
        (Phase.RCPT, 550, "5.1.1 unknown", True, Refused, Cause.USER_UNKNOWN),
        (Phase.RCPT, 452, "4.5.3 too many", True, Deferred, Cause.TOO_MANY),
        (Phase.RCPT, 552, "5.5.3 too many", True, Deferred, Cause.TOO_MANY),
        (Phase.RCPT, 552, "5.2.2 full", True, Refused, Cause.MAILBOX_FULL),
        (Phase.DATA, 554, "5.6.0 content", True, Refused, Cause.CONTENT),
        (Phase.BODY, 552, "5.3.4 too large", False, Refused, Cause.TOO_LARGE),
        (Phase.BODY, 451, "4.7.1 later", False, Deferred, Cause.POLICY),
    ],
)
def test_a_reply_is_sorted_by_phase_and_code(
    phase: Phase, code: int, text: str, fresh: bool, kind: type, cause: Cause
) -> None:
    outcome = from_reply(phase, "X", code, text, fresh=fresh)
    assert type(outcome) is kind
    assert outcome.failure.cause == cause
    assert outcome.failure.code == code
    assert outcome.failure.permanent == (kind is Refused)


@given(
    code=st.integers(400, 599),
    text=st.text(max_size=50),
    phase=st.sampled_from([Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.TLS, Phase.AUTH]),
)
def test_nothing_before_mail_is_ever_a_mails_fault(code: int, text: str, phase: Phase) -> None:
    outcome = from_reply(phase, "X", code, text, fresh=True)
    assert isinstance(outcome, Unreachable)
    assert not outcome.failure.permanent


def test_the_breaker_doubles_its_pause_to_a_minute_and_any_answer_ends_it() -> None:
    breaker, now, pauses = Breaker(), 1000.0, []
    for _ in range(9):
        breaker = breaker.after(unreachable(Phase.CONNECT, Cause.DNS), now)
        pauses.append(breaker.pause_s(now))
        now = breaker.pause_until
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert breaker.cause == "dns"
    assert breaker.after(LeaseLost(), now) == breaker
    assert breaker.after(Accepted(250, "ok"), now) == Breaker()
    assert Breaker().cause is None


def test_sends_that_fail_together_lengthen_the_pause_once() -> None:
    breaker = Breaker()
    for _ in range(8):
        breaker = breaker.after(unreachable(Phase.CONNECT, Cause.CONNECT), 50.0)
    assert (breaker.failures, breaker.pause_s(50.0)) == (1, 1.0)


def test_wrong_credentials_pause_longer_at_once() -> None:
    breaker = Breaker().after(unreachable(Phase.AUTH, Cause.AUTH_FAILED), 0.0)
    assert 30.0 <= breaker.pause_s(0.0) <= LONGEST_PAUSE_S


@pytest.mark.parametrize(
    ("url", "password", "endpoint"),
    [
        ("smtp://127.0.0.1:1025", None, Endpoint(Tls.NONE, "127.0.0.1", 1025)),
        ("smtp+starttls://mail.example", None, Endpoint(Tls.STARTTLS, "mail.example", 587)),
        ("smtps://u%40x:p%2F%3A@mail.example", None, Endpoint(Tls.IMPLICIT, "mail.example", 465, "u@x", "p/:")),
        ("smtps://u:old@mail.example", "new", Endpoint(Tls.IMPLICIT, "mail.example", 465, "u", "new")),
        ("smtps://u@[::1]:99?auth=xoauth2", None, Endpoint(Tls.IMPLICIT, "::1", 99, "u", None, True)),
    ],
)
def test_an_smtp_url_is_read_with_its_escapes(url: str, password: str | None, endpoint: Endpoint) -> None:
    assert parse_smtp_url(url, password) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        *("http://mail.example", "smtp://", "smtp://h:99999", "smtp://h/path", "smtps://secret@h?auth=ntlm"),
        *("smtps://h?auth=xoauth2", "smtps://h?x=1", "smtps://secret@h"),
    ],
)
def test_a_wrong_smtp_url_names_the_setting_and_not_the_secret(url: str) -> None:
    with pytest.raises(ConfigurationError, match="LEADSTREAM_SMTP_URL: ") as caught:
        parse_smtp_url(url)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_in_the_representation() -> None:
    assert "hush" not in repr(parse_smtp_url("smtps://u:hush@h"))


@given(st.lists(st.sampled_from([b".", b"..", b".x", b"a", b""]), min_size=1, max_size=20))
def test_dot_stuffing_keeps_every_line_and_ends_once(lines: list[bytes]) -> None:
    """Case 058."""
    wire = dot_stuffed(b"".join(line + b"\r\n" for line in lines))
    body, mark, rest = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    assert (mark, rest) == (b"\r\n.\r\n", b"")
    assert [line.removeprefix(b".") for line in body.split(b"\r\n")[1:]] == lines
