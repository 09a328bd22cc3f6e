"""What a mail that came in says: nothing is invented, and nothing makes the reader fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_mail.bounces.finding import Finding, ReportClass
from leadstream_mail.bounces.message import MAX_BYTES
from leadstream_mail.bounces.read import read_report
from tests.support.report_mails import complaint, dsn

TO = "bounce+token@leads.example.com"
HEADERS = {"Message-ID": "<lead-1.sub-7@leads.example.com>", "X-Leadstream-Mail": "token", "To": "s1@example.com"}


def one(raw: bytes) -> Finding:
    (finding,) = read_report(raw)
    return finding


def prose(body: str, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}\r\n").encode()


def test_a_notification_tells_recipient_status_code_words_and_the_original() -> None:
    assert one(dsn(TO, "s1@example.com", original=HEADERS)) == Finding(
        ReportClass.HARD,
        recipient="s1@example.com",
        message_id="<lead-1.sub-7@leads.example.com>",
        token="token",
        code=550,
        enhanced="5.1.1",
        detail="550 5.1.1 no such user",
    )


@pytest.mark.parametrize("action", ["delayed", "relayed", "expanded", "delivered", "Delayed", "delayed (will retry)"])
def test_case_130_what_is_no_failure_is_no_bounce(action: str) -> None:
    assert one(dsn(TO, "s1@example.com", status="4.4.1", action=action)).report_class is ReportClass.NOT_A_BOUNCE


@pytest.mark.parametrize("action", ["failed", "failed (bad mailbox)", "failure", "error"])
def test_what_servers_write_for_a_failure_is_one(action: str) -> None:
    assert one(dsn(TO, "s1@example.com", action=action)).report_class is ReportClass.HARD


@pytest.mark.parametrize("status", ["4.2.2", None])
def test_case_131_nothing_is_invented(status: str | None) -> None:
    finding = one(dsn(TO, "s1@example.com", status=status, diagnostic=None))
    assert (finding.report_class, finding.code, finding.detail) == (ReportClass.SOFT, None, "")
    assert finding.enhanced == status


def test_case_140_an_ambiguous_refusal_is_soft() -> None:
    said = "smtp; 550 5.4.1 [s1@example.com]: Recipient address rejected: Access denied"
    finding = one(dsn(TO, "s1@example.com", status="5.4.1", diagnostic=said))
    assert (finding.report_class, finding.code, finding.enhanced) == (ReportClass.SOFT, 550, "5.4.1")


def test_case_141_a_group_that_may_not_exist_is_no_proof_that_it_does_not() -> None:
    raw = prose(
        "the group you tried to contact (team) may not exist, or you may not have permission to post",
        From="Mail Delivery Subsystem <mailer-daemon@mx.example.test>",
        Subject="Delivery Status Notification (Failure)",
        X_Failed_Recipients="team@example.com",
    )
    assert (one(raw).report_class, one(raw).recipient) == (ReportClass.SOFT, "team@example.com")


def test_case_143_a_dead_member_is_held_against_no_alias() -> None:
    alias = "Original-Recipient: rfc822; sales-team@example.com"
    finding = one(dsn(TO, "member7@example.net", per_recipient=alias))
    assert (finding.report_class, finding.recipient) == (ReportClass.SOFT, "sales-team@example.com")


def test_a_server_that_only_names_its_own_host_still_means_the_same_mailbox() -> None:
    asked = "Original-Recipient: rfc822; S1@example.com"
    finding = one(dsn(TO, "s1@mx1.example.com", per_recipient=asked))
    assert (finding.report_class, finding.recipient) == (ReportClass.HARD, "S1@example.com")


def test_case_148_a_complaint_names_its_recipient_in_the_original() -> None:
    raw = complaint("fbl@leads.example.com", original=HEADERS | {"X-HmXmrOriginalRecipient": "s1@example.com"})
    finding = one(raw)
    assert (finding.report_class, finding.recipient) == (ReportClass.COMPLAINT, "s1@example.com")
    assert (finding.token, finding.feedback_type) == ("token", "abuse")


def test_case_149_a_redacted_address_is_nobodys() -> None:
    raw = complaint("fbl@leads.example.com", recipient="redacted@example.com", original={"To": "undisclosed:;"})
    finding = one(raw)
    assert (finding.recipient, finding.token, finding.message_id) == (None, None, None)


@pytest.mark.parametrize("kind", ["abuse", "fraud", "not-spam", "opt-out", "auth-failure", "virus", "brand-new-type"])
def test_case_150_the_kind_of_feedback_is_told_as_it_is(kind: str) -> None:
    assert one(complaint("fbl@leads.example.com", feedback_type=kind.upper())).feedback_type == kind


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_case_154_line_ends_of_every_kind_are_read_alike(end: bytes) -> None:
    for raw in (dsn(TO, "s1@example.com", original=HEADERS), complaint(TO, original=HEADERS)):
        assert read_report(raw.replace(b"\r\n", end)) == read_report(raw)


@pytest.mark.parametrize(
    "headers",
    [
        {"Auto-Submitted": "auto-replied"},
        {"Auto-Submitted": "auto-replied (vacation)"},
        {"X-Autoreply": "yes"},
        {"Precedence": "auto_reply"},
        {"Subject": "Out of Office: your lead"},
        {"Subject": "Automatic reply: New lead"},
        {"Subject": "Abwesenheitsnotiz"},
        {"Subject": "Réponse automatique : New lead"},
        {"Subject": "Auto reply"},
        {"Subject": "=?utf-8?b?UsOpcG9uc2UgYXV0b21hdGlxdWUgOiBOZXcgbGVhZA==?="},
        {"Subject": "=?no-such-charset?q?Out_of_office?="},
    ],
)
def test_an_answering_machine_is_no_bounce_whatever_it_talks_about(headers: dict[str, str]) -> None:
    text = "I am away. Mails to user unknown <s1@example.com> fail with 550 5.1.1 no such user."
    lines = {"From": "s1@example.com", "To": TO} | headers
    raw = ("\r\n".join(f"{name}: {value}" for name, value in lines.items()) + "\r\n\r\n" + text).encode()
    assert read_report(raw) == (Finding(ReportClass.AUTO_REPLY),)


def test_a_mail_system_that_marks_its_report_as_automatic_is_no_answering_machine() -> None:
    raw = prose(
        "550 5.1.1 user unknown",
        From="MAILER-DAEMON@mx.example.test",
        Auto_Submitted="auto-replied",
        X_Failed_Recipients="s1@example.com",
    )
    assert (one(raw).report_class, one(raw).recipient) == (ReportClass.HARD, "s1@example.com")


def test_a_report_in_words_is_read_by_its_shape() -> None:
    body = (
        "Hi. This is the qmail-send program at mx.example.test.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        "<s1@example.com>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        "--- Below this line is a copy of the message.\n"
    )
    finding = one(prose(body, From="MAILER-DAEMON@mx.example.test", Subject="failure notice"))
    assert (finding.report_class, finding.recipient) == (ReportClass.HARD, "s1@example.com")


@pytest.mark.parametrize("raw", [b"", b"\0\xff", b"hello", b"Subject: hi\r\n\r\nthanks for the lead", b"\r\n" * 50])
def test_a_mail_that_is_no_report_says_so(raw: bytes) -> None:
    assert read_report(raw) == (Finding(ReportClass.NOT_A_BOUNCE),)


def test_deep_and_large_mails_are_read_as_far_as_is_sensible() -> None:
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(5_000))
    assert read_report(nested) == (Finding(ReportClass.NOT_A_BOUNCE),)
    assert one(dsn(TO, "s1@example.com") + b"x" * (2 * MAX_BYTES)).recipient == "s1@example.com"


_PIECES = st.sampled_from(
    [
        *dsn(TO, "s1@example.com", original=HEADERS).splitlines(keepends=True),
        *complaint(TO, original=HEADERS).splitlines(keepends=True),
        *(b"\r", b"\n\n", b"\0", b"\xff\xfe", b"=?utf-8?q?=00?=", b"Content-Transfer-Encoding: base64\r\n"),
    ]
)


@given(st.lists(_PIECES | st.binary(max_size=30), max_size=60))
def test_no_bytes_make_the_reader_fail(pieces: list[bytes]) -> None:
    for finding in read_report(b"".join(pieces)):
        assert finding.recipient is None or "@" in finding.recipient
