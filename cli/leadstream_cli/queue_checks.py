"""What `doctor` says about work that waits, and how many processes would help: pure verdicts over what was read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leadstream_cli.doctor_checks import Finding, Verdict
from leadstream_cli.output import age

# What waits less than this is at work, not behind.
BEHIND_S = 60.0
# A backlog that is gone within this is none to do anything about.
GONE_WITHIN_S = 600.0
MEASURED_OVER_S = 60.0
_NEARLY = 0.9


@dataclass(frozen=True, slots=True)
class MailQueue:
    """`waiting` mails may be begun now; `arriving_s` are requested and `ending_s` end in a second, as measured.

    `limit_s` is the limit of all mails in mails a second, None for none; `limit_full`: it has no room just now.
    """

    waiting: int
    arriving_s: float
    ending_s: float
    mailers: int
    limit: str = ""
    limit_s: float | None = None
    limit_full: bool = False


@dataclass(frozen=True, slots=True)
class Behind:
    """A group whose oldest unread entry is `lag_age_s` old, and how many consumers of it live."""

    service: str
    group: str
    lag: int
    lag_age_s: float
    alive: int


def rate_within(stored_ms: Sequence[int], now_ms: int, read_at_most: int) -> float:
    """Entries a second over the last minute, from when the newest were stored (ms).

    When as many were read as may be, the minute may hold more: then over the time that these took.
    """
    recent = [ms for ms in stored_ms if now_ms - ms <= MEASURED_OVER_S * 1000]
    whole = len(recent) == len(stored_ms) == read_at_most
    span_s = max((now_ms - min(recent)) / 1000, 1.0) if whole else MEASURED_OVER_S
    return len(recent) / span_s


def services(absent: Sequence[str], *, told: bool) -> Finding:
    """Whether what every lead needs runs anywhere; `absent` names the services of which nobody is alive.

    Unless `told`, the server does not note who asks and gets nothing: then they are those that have never run.
    """
    if not absent:
        known = "are alive" if told else "have run; Redis before 7.2 does not tell whether idle ones live"
        return Finding("services", Verdict.OK, f"fanout, mailer and projections {known}")
    start = ", ".join(f"leadstream {name}" for name in absent)
    return Finding("services", Verdict.NOTE, f"nobody is alive of {', '.join(absent)}", f"start {start}")


def mails(queue: MailQueue) -> Finding:
    """Whether mails wait, and what would help."""
    if not queue.waiting:
        return Finding("mails", Verdict.OK, "nothing waits")
    text = f"{queue.waiting} wait, {_mailers(queue.mailers)}"
    if not queue.mailers:
        return Finding("mails", Verdict.PROBLEM, text, "start leadstream mailer")
    if queue.limit_full and queue.limit_s:
        return _bound(f"{text}; the limit binds ({queue.limit})", queue)
    if not queue.ending_s:
        mend = "see the finding smtp, leadstream pending mailer, and the mailer's log"
        return Finding("mails", Verdict.PROBLEM, f"{text}, and none has ended for a minute", mend)
    text += f"; {queue.arriving_s:.2g}/s come, {queue.ending_s:.2g}/s go"
    if queue.waiting <= (queue.ending_s - queue.arriving_s) * GONE_WITHIN_S:
        gone_s = queue.waiting / (queue.ending_s - queue.arriving_s)
        return Finding("mails", Verdict.OK, f"{text}: gone in {age(gone_s)}")
    return _more(text, queue)


def _more(text: str, queue: MailQueue) -> Finding:
    if queue.limit_s is not None and queue.ending_s >= _NEARLY * queue.limit_s:
        return _bound(f"{text}; the limit is nearly used ({queue.limit})", queue)
    each_s = queue.ending_s / queue.mailers
    wanted_s = queue.arriving_s + queue.waiting / GONE_WITHIN_S
    limited = queue.limit_s is not None and wanted_s > queue.limit_s
    enough = math.ceil((queue.limit_s if limited and queue.limit_s else wanted_s) / each_s - 1e-9)
    more = max(1, enough - queue.mailers)
    mend = f"at this rate {more} more mailer{'' if more == 1 else 's'}"
    then = f"; then the limit ({queue.limit}) binds" if limited else f": gone in {age(GONE_WITHIN_S)}"
    return Finding("mails", Verdict.NOTE, text, f"{mend}{then}")


def _bound(text: str, queue: MailQueue) -> Finding:
    needed = f", they take {age(queue.waiting / queue.limit_s)}" if queue.limit_s else ""
    mend = "more mailers do not help; raise the limit if your mail server and the receivers allow it"
    return Finding("mails", Verdict.NOTE, f"{text}{needed}", mend)


def _mailers(count: int) -> str:
    return f"{count or 'no'} mailer{'' if count == 1 else 's'} alive"


def groups(behind: Sequence[Behind]) -> list[Finding]:
    """A finding for each group that is behind, or one that says that none is. Not for the mailer's: see `mails`."""
    return [_group(each) for each in behind] or [
        Finding("groups", Verdict.OK, "nothing waits for fan-out and projections")
    ]


def _group(each: Behind) -> Finding:
    text = f"{each.group}: {each.lag} not read, the oldest for {age(each.lag_age_s)}"
    if not each.alive:
        return Finding("groups", Verdict.PROBLEM, f"{text}; nobody reads", f"start leadstream {each.service}")
    mend = f"start another leadstream {each.service}, or look at the log of the one that runs"
    return Finding("groups", Verdict.NOTE, f"{text}; {each.alive} alive", mend)
