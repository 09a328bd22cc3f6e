"""A lead's story as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leadstream_cli.output import Output, printable, stamp
from leadstream_events.entry_ids import entry_order as order

if TYPE_CHECKING:
    from leadstream_cli.story import Story
    from leadstream_events.views_leads import LeadView, MailView
    from leadstream_events.views_timeline import Moment

_TRACE_ID_CHARS = 32  # W3C Trace Context: version-trace id-parent id-flags


def head_lines(story: Story, out: Output) -> list[str]:
    """The lead, and how far each of its mails is."""
    view = story.view
    who = out.clean({"full_name": view.lead.full_name, "email": view.lead.email}) if view.lead else None
    name = f"{who['full_name']} <{who['email']}>" if who else _why_none(view)
    lines = [f"lead {view.lead_id}  {name}"]
    if view.trace:
        lines.append(f"  trace {view.trace.partition('-')[2][:_TRACE_ID_CHARS]}")
    lines += [f"  {_title(mail, out):<44} {_standing(mail)}" for mail in view.mails]
    return [printable(line) for line in lines]


def moment_lines(story: Story, out: Output) -> list[str]:
    """What happened, in its own order, and the letters that are open.

    What happened while Redis was away was stored later than it happened, all at once.
    """
    moments: list[tuple[Moment, MailView | None]] = [(moment, None) for moment in story.view.timeline]
    moments += [(moment, mail) for mail in story.view.mails for moment in mail.timeline]
    lines = [_line(moment, mail, out) for moment, mail in sorted(moments, key=lambda pair: _when(pair[0]))]
    for entry in story.dead:
        data = entry.data if isinstance(entry.data, dict) else {}
        cause = out.clean({"cause": data.get("cause"), "detail": data.get("detail")})
        text = " ".join(str(value) for value in cause.values() if value)
        lines.append(f"{stamp(entry.stored_ms)}  DEAD LETTER  {entry.place}  {text}")
    return [printable(line) for line in lines]


def _why_none(view: LeadView) -> str:
    if view.erased:
        return "erased"
    return "locked: LEADSTREAM_ENCRYPTION_KEYS_FILE lacks its key" if view.locked else "its data is gone"


def _title(mail: MailView, out: Output) -> str:
    if mail.subscriber_id is None:
        return f"{mail.kind or 'mail'} to the lead"
    name = out.clean({"name": mail.subscriber_name})["name"] if mail.subscriber_name else ""
    return f"{mail.kind or 'mail'} to {name} {mail.subscriber_id}".replace("  ", " ")


def _standing(mail: MailView) -> str:
    text = f"{mail.state.value}, {mail.attempts} attempt{'' if mail.attempts == 1 else 's'}"
    if mail.next_attempt_at:
        text += f", next at {mail.next_attempt_at.isoformat(timespec='seconds')}"
    return text + (f", in phase {mail.phase}" if mail.phase else "")


def _when(moment: Moment) -> tuple[int, tuple[int, int]]:
    """When it happened, in ms; what cannot be read says only when it was stored."""
    stored = order(moment.entry_id)
    return int(moment.time.timestamp() * 1000) if moment.time else stored[0], stored


def _line(moment: Moment, mail: MailView | None, out: Output) -> str:
    at = stamp(_when(moment)[0])
    parts = [f"{at}  {moment.event:<20}"]
    if mail is not None:
        parts.append(_title(mail, out))
    if moment.attempt is not None:
        parts.append(f"attempt {moment.attempt}")
    reply = out.clean({"reply": moment.reply})["reply"]
    enhanced = None if reply and reply.startswith(moment.enhanced or "\n") else moment.enhanced
    parts += [str(part) for part in (moment.phase, moment.code, enhanced, reply, moment.cause) if part]
    if moment.next_attempt_at:
        parts.append(f"next at {moment.next_attempt_at.isoformat(timespec='seconds')}")
    if moment.possible_duplicate:
        parts.append("MAY HAVE GONE TWICE")
    return f"{'  '.join(parts)}  [{moment.stream}/{moment.entry_id}]"
