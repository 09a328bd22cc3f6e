"""`trace`: the whole story of a lead, as a timeline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import rich_click as click

from leadstream_cli.errors_text import say
from leadstream_cli.output import Output, emit_json, output_options
from leadstream_events.errors import NotFound

if TYPE_CHECKING:
    from leadstream_cli.story import Story


@click.command()
@click.argument("wanted", metavar="[ID|EMAIL]", default="")
@click.option("--subscriber", help="The newest leads that this subscriber was to get: id, address or name.")
@output_options
def trace(wanted: str, subscriber: str | None, out: Output) -> None:
    """Show everything that happened to a lead: by lead id, mail id, Message-ID, e-mail address or subscriber.

    An address finds the newest leads it came with, or whose mails went to it.
    """
    from leadstream_cli.searching import SCAN
    from leadstream_cli.story import stories

    if bool(wanted) == (subscriber is not None):
        raise click.UsageError("give an id, a Message-ID or an address, or --subscriber", click.get_current_context())
    found, complete = asyncio.run(stories(wanted, subscriber))
    if not complete:
        say(f"there may be more: it looks at the newest {SCAN} entries of each stream, and shows 20 leads at the most")
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
    from leadstream_cli.story_text import head_lines, moment_lines

    for line in head_lines(story, out):
        click.echo(line)
    if not story.view.timeline_complete:
        say("the projection `leads` lags: some attempts are not listed yet")
    if mails_only:
        return
    click.echo()
    for line in moment_lines(story, out):
        click.echo(line)
