"""One command per service, run as containers and units run it. SIGTERM drains; the exit code is then 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from leadstream_cli.readiness import tell_supervisor

if TYPE_CHECKING:
    from leadstream_events.runtime.process import Run


def _given(**options: object) -> dict[str, object]:
    """The options that were given on the command line: they win over environment and file."""
    return {name: value for name, value in options.items() if value is not None}


def serve_until_stopped(name: str, run: Run) -> None:
    from leadstream_events.runtime.process import serve
    from leadstream_events.settings import load_settings

    serve(name, load_settings(), run, prepare=tell_supervisor)


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

    from leadstream_mailer.fanout import run

    serve_until_stopped("fanout", run)


@click.command()
def mailer() -> None:
    """Run the mailer: sends what was requested, within the limit, and records every attempt."""

    from leadstream_mailer.service import run

    serve_until_stopped("mailer", run)


@click.command()
def archiver() -> None:
    """Run the archiver: writes what every group has finished to LEADSTREAM_ARCHIVE_URL, and then trims it."""

    from leadstream_archiver.service import run

    serve_until_stopped("archiver", run)
