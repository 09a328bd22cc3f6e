"""Which replies ask for fewer mails. The texts are worded after those of large providers."""

from __future__ import annotations

import pytest

from leadstream_events.schemas.events import SmtpFailure
from leadstream_mail.throttling import asks_to_slow_down

ASKS = [
    (421, "4.7.28", "Our system has detected an unusual rate of unsolicited mail"),
    (421, "4.7.28", "words that nobody knows"),
    (450, "4.2.1", "The user you are trying to contact is receiving mail too quickly"),
    (450, "4.2.1", "The user is receiving mail at a rate that prevents additional messages"),
    (421, "4.7.0", "[TSS04] Messages temporarily deferred due to unexpected volume or user complaints"),
    (451, "4.7.650", "The mail server has been temporarily rate limited due to IP reputation"),
    (450, "4.7.1", "Error: too much mail"),
    (421, None, "Too many connections from your host"),
    (454, None, "Throttling failure: maximum sending rate exceeded"),
    (452, None, "You have exceeded the hourly limit of messages"),
    (421, "4.7.1", "listed on a blocklist"),
]
SAYS_OTHER_THINGS = [
    (451, "4.7.1", "Greylisted, come back in 5 minutes"),
    (450, "4.7.1", "grey-listing in effect for too many new senders"),
    (452, "4.2.2", "The recipient's inbox is over quota, and receives too much"),
    (452, None, "mailbox is full, quota limit exceeded"),
    (452, "4.5.3", "Too many recipients"),
    (452, "4.3.1", "Insufficient system storage"),
    (451, "4.3.0", "Temporary lookup failure"),
    (450, "4.1.8", "Sender domain not found"),
    (550, "5.7.1", "rate limit exceeded"),
    (None, None, "too many"),
    (421, None, "Service closing, the operator separates mail corporate-wide"),
]


def failure(code: int | None, enhanced: str | None, line: str) -> SmtpFailure:
    return SmtpFailure(permanent=False, phase="rcpt", code=code, enhanced=enhanced, line=line, cause="deferred")


@pytest.mark.parametrize("said", ASKS)
def test_rate_and_reputation_ask_for_fewer_mails(said: tuple[int, str | None, str]) -> None:
    assert asks_to_slow_down(failure(*said))


@pytest.mark.parametrize("said", SAYS_OTHER_THINGS)
def test_other_troubles_do_not(said: tuple[int | None, str | None, str]) -> None:
    assert not asks_to_slow_down(failure(*said))
