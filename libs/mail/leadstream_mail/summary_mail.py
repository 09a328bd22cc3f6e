"""The daily mail to the operator: plain text, marked as sent by a machine (RFC 3834), one Message-ID a day."""

from __future__ import annotations

from datetime import date, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from leadstream_events.summary import Summary
from leadstream_mail.addresses import wire_address, wire_domain
from leadstream_mail.build import RawMail

_LINES = (
    ("leads", "leads received"),
    ("requested", "mails requested"),
    ("sent", "mails sent"),
    ("failed", "mails failed"),
    ("deferred", "attempts put off"),
    ("skipped", "mails skipped on purpose"),
    ("unknown", "answers never learned"),
    ("bounced", "bounces"),
    ("complained", "complaints"),
)
_MOST_NAMED = 50
_CONTROLS = dict.fromkeys((*range(32), 127), " ")


def subject_of(summary: Summary, day: date) -> str:
    """One line that says whether there is anything to do."""
    counts = summary.counts
    return (
        f"leadstream {day.isoformat()}: {counts.get('sent', 0)} sent, {counts.get('failed', 0)} failed, "
        f"{summary.dead_letters} dead letters open"
    )


def text_of(summary: Summary) -> str:
    """The mail's text; lines end in LF."""
    since = "the beginning" if summary.since is None else _moment(summary.since)
    lines = [f"From {since} to {_moment(summary.until)} (UTC)", ""]
    for name, label in _LINES:
        lines.append(_line(label, summary.counts.get(name, 0)))
        if name == "failed":
            lines += [_line(f"  {cause}", count) for cause, count in sorted(summary.failed.items())]
    lines += ["", "Now", ""]
    lines.append(_line("mails waiting for their next attempt", summary.deferred_now))
    lines.append(_line("dead letters open", summary.dead_letters))
    lines.append(_line("suppressed addresses", summary.suppressed))
    lines += ["", "Purchased leads about to end", ""] if summary.low else []
    for each in summary.low[:_MOST_NAMED]:
        name = each.name.translate(_CONTROLS)
        lines.append(f"  {name} ({each.subscriber_id}): {each.remaining} of {each.purchased} left")
    if len(summary.low) > _MOST_NAMED:
        lines.append(f"  and {len(summary.low) - _MOST_NAMED} more")
    lines += ["", "Not finished yet, by group", ""] if summary.lag else ["", "No group is behind."]
    lines += [_line(f"  {group}", count) for group, count in sorted(summary.lag.items())]
    return "\n".join(lines) + "\n"


def summary_mail(summary: Summary, day: date, *, mail_from: str, to: str, now: datetime) -> RawMail:
    """Builds the mail. `Permanent` when one of the addresses has no safe spelling."""
    sender, recipient = wire_address(mail_from), wire_address(to)
    message = EmailMessage(policy=SMTP.clone(utf8=sender.needs_smtputf8 or recipient.needs_smtputf8))
    message["From"], message["To"] = sender.text, recipient.text
    message["Subject"] = subject_of(summary, day)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<summary-{day.isoformat()}@{wire_domain(mail_from.rpartition('@')[2])}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text_of(summary), charset="utf-8", cte="quoted-printable")
    eight_bit = sender.needs_smtputf8 or recipient.needs_smtputf8
    return RawMail(message.as_bytes(), eight_bit, eight_bit, recipient.text)


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M}"


def _line(label: str, count: int) -> str:
    return f"{label:<40}{count:>10}"
