"""One command per service, as containers and units run them. SIGTERM drains; the exit code is then 0."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import rich_click as click

from leadstream_cli.readiness import tell_supervisor

if TYPE_CHECKING:
    from leadstream_events.settings import Settings


def _given(**options: object) -> dict[str, object]:
    """The options that were given on the command line: they win over environment and file."""
    return {name: value for name, value in options.items() if value is not None}


def _serve(name: str, make: Callable[[Settings], Awaitable[None]]) -> None:
    """Sets up logs and the loop, and runs the service to its end."""
    import asyncio

    import uvloop

    from leadstream_events import logs
    from leadstream_events.settings import load_settings

    settings = load_settings()
    logs.setup(settings.log_format, name)
    tell_supervisor()

    async def run() -> None:
        await make(settings)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@click.command()
@click.option("--host", help="Address to listen on.  [default: LEADSTREAM_API_HOST]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on.  [default: LEADSTREAM_API_PORT]")
def api(host: str | None, port: int | None) -> None:
    """Run the API: leads in over HTTP, queries, dashboard."""

    from leadstream_api.server import serve
    from leadstream_events.settings import load_settings

    serve(load_settings(**_given(api_host=host, api_port=port)))


@click.command()
def fanout() -> None:
    """Run the fan-out: one mail request per recipient of a lead."""

    async def make(settings: Settings) -> None:
        from leadstream_mailer.fanout import run

        await run(settings)

    _serve("fanout", make)


@click.command()
def mailer() -> None:
    """Run the mailer: sends what was requested, within the limit, and records every attempt."""

    async def make(settings: Settings) -> None:
        from leadstream_mailer.service import run

        await run(settings)

    _serve("mailer", make)


@click.command()
def projections() -> None:
    """Run the projections: exact counters from events."""

    async def make(settings: Settings) -> None:
        import logging

        from leadstream_projections.service import run

        # Faust tells of every part that starts and stops; ours is the one line that says `ready`.
        logging.getLogger("faust").setLevel(logging.WARNING)
        logging.getLogger("mode").setLevel(logging.WARNING)
        await run(settings)

    _serve("projections", make)
