"""`trace`: the whole story of a lead, as a timeline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import rich_click as click

from leadstream_cli.errors_text import say
from leadstream_cli.output import Output, emit_json, output_options, printable, stamp
from leadstream_events.errors import NotFound

if TYPE_CHECKING:
    from leadstream_cli.story import Story
    from leadstream_events.views import MailView
    from leadstream_events.views_timeline import Moment


@click.command()
@click.argument("wanted", metavar="ID|EMAIL")
@output_options
def trace(wanted: str, out: Output) -> None:
    """Show everything that happened to a lead: by lead id, mail id, Message-ID or e-mail address.

    An address finds the newest leads it came with, or whose mails went to it.
    """
    from leadstream_cli.story import SCAN, stories

    found, complete = asyncio.run(stories(wanted))
    if not complete:
        say(f"looked at the newest {SCAN} entries of each stream only, and shows 20 leads at the most")
    if not found:
        raise NotFound("nothing is stored about this")
    if out.as_json:
        emit_json([out.clean(story.row()) for story in found])
        return
    for number, story in enumerate(found):
        if number:
            click.echo()
        print_story(story, out)


def print_story(story: Story, out: Output, *, mails_only: bool = False) -> None:
    """Prints the lead's line, then its moments in the order in which they were stored."""
    view = story.view
    who = out.clean({"full_name": view.lead.full_name, "email": view.lead.email}) if view.lead else None
    name = f"{who['full_name']} <{who['email']}>" if who else "erased" if view.erased else "its data is gone"
    click.echo(printable(f"lead {view.lead_id}  {name}"))
    for mail in view.mails:
        click.echo(printable(f"  {_title(mail, out):<44} {_standing(mail)}"))
    if not view.timeline_complete:
        say("the projection `leads` lags: some attempts are not listed yet")
    if mails_only:
        return
    click.echo()
    moments: list[tuple[Moment, MailView | None]] = [(moment, None) for moment in view.timeline]
    moments += [(moment, mail) for mail in view.mails for moment in mail.timeline]
    # Every partition-wide event of one lead is in one partition, whose clock orders them.
    for moment, of_mail in sorted(moments, key=lambda pair: _order(pair[0])):
        click.echo(printable(_line(moment, of_mail, out)))
    for entry in story.dead:
        cause = out.clean({"cause": entry.data.get("cause"), "detail": entry.data.get("detail")})
        text = " ".join(str(value) for value in cause.values() if value)
        click.echo(printable(f"{stamp(entry.stored_ms)}  DEAD LETTER  {entry.place}  {text}"))


def _order(moment: Moment) -> tuple[int, int]:
    ms, _, sequence = moment.entry_id.partition("-")
    return int(ms), int(sequence or 0)


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


def _line(moment: Moment, mail: MailView | None, out: Output) -> str:
    at = stamp(_order(moment)[0])
    parts = [f"{at}  {moment.event:<20}"]
    if mail is not None:
        parts.append(_title(mail, out))
    if moment.attempt is not None:
        parts.append(f"attempt {moment.attempt}")
    reply = out.clean({"reply": moment.reply})["reply"]
    parts += [str(part) for part in (moment.phase, moment.code, moment.enhanced, reply, moment.cause) if part]
    if moment.next_attempt_at:
        parts.append(f"next at {moment.next_attempt_at.isoformat(timespec='seconds')}")
    if moment.possible_duplicate:
        parts.append("MAY HAVE GONE TWICE")
    return f"{'  '.join(parts)}  [{moment.stream}/{moment.entry_id}]"
