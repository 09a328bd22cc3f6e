"""`serve`: the services of one machine under one parent."""

from __future__ import annotations

import os
import sys

import rich_click as click

# What `leadstream_cli.serving.children.MODULES` holds; that module imports more than the help of a command may.
SERVICES = ("api", "fanout", "mailer", "projections", "archiver", "bounces")


@click.command()
@click.argument("services", metavar="[SERVICE]...", nargs=-1, type=click.Choice(SERVICES))
def serve(services: tuple[str, ...]) -> None:
    """Run all services of this machine under one parent, which starts again what ends and shares memory among them.

    Without SERVICE: api, fanout, mailer, projections; archiver with LEADSTREAM_ARCHIVE_URL; bounces with
    LEADSTREAM_RETURN_PATH or LEADSTREAM_ABUSE_TO. A service named twice runs as two processes. SIGTERM drains all of
    them; the exit code is then 0. Linux only.
    """
    # A process that keeps nothing of the command line; it has our pid, so whoever started us goes on talking to it.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "leadstream_cli.serving", *services])  # noqa: S606
