"""`up`: everything on this machine, kept running until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from leadstream_cli.errors_text import say

if TYPE_CHECKING:
    from leadstream_cli.system import Plan, System
    from leadstream_events.settings import Settings

_APPENDFSYNC = ("always", "everysec", "no")


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of API and dashboard; 0: a free one.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
@click.option(
    "--redis-port",
    type=click.IntRange(0, 65_535),
    help="Port of the embedded server; 0: a free one.  [default: 6379, or a free one]",
)
@click.option("--appendfsync", type=click.Choice(_APPENDFSYNC), default="everysec", show_default=True)
@click.option("--no-inbox", is_flag=True, help="No local inbox: send through the default LEADSTREAM_SMTP_URL.")
def up(port: int | None, data_dir: Path | None, redis_port: int | None, appendfsync: str, no_inbox: bool) -> None:
    """Run everything on this machine: server, API, fan-out, mailer, projections, and an inbox that catches the mail.

    LEADSTREAM_REDIS_URL or LEADSTREAM_SMTP_URL, when set, are used instead of the embedded server and the inbox.
    """
    from leadstream_events.settings import load_settings

    settings = load_settings(
        **({} if port is None else {"api_port": port}), **({} if data_dir is None else {"data_dir": data_dir})
    )
    asyncio.run(_up(_plan(settings, redis_port, appendfsync, no_inbox)))


def _plan(settings: Settings, redis_port: int | None, appendfsync: str, no_inbox: bool) -> Plan:
    from leadstream_cli.connection import configured
    from leadstream_cli.embedded_probe import port_taken
    from leadstream_cli.system import Plan

    if settings.api_port and settings.api_host == "127.0.0.1" and port_taken(settings.api_port):
        from leadstream_events.errors import ConfigurationError

        raise ConfigurationError(f"port {settings.api_port} on 127.0.0.1 is taken: choose another one with --port")
    own_smtp = no_inbox or configured("smtp_url") is not None
    return Plan(
        data_dir=settings.data_dir,
        redis_url=settings.redis_url if configured("redis_url") else None,
        smtp_url=settings.smtp_url.get_secret_value() if own_smtp else None,
        partitions=settings.partitions,
        api_host=settings.api_host,
        api_port=settings.api_port,
        redis_port=redis_port,
        appendfsync=appendfsync,
        stop_within_s=settings.drain_deadline + 5.0,
    )


async def _up(plan: Plan) -> None:
    from leadstream_cli.system import running

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    plan.data_dir.mkdir(parents=True, exist_ok=True)
    system = running(plan, say)
    starting = asyncio.ensure_future(system.__aenter__())
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # a signal while starting: what was begun is undone by the cancellation
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    found = starting.result()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(system.__aexit__)
        stack.callback(waiting.cancel)
        _announce(plan, found, stack)
        ends: set[asyncio.Future[Any]] = {waiting, found.supervisor.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        say("stopping")
        if found.supervisor.failed.done():
            raise found.supervisor.failed.result()
    say("stopped")


def _announce(plan: Plan, system: System, stack: contextlib.AsyncExitStack) -> None:
    """Tells people where everything is, and other commands by the run file."""
    from leadstream_cli.runfile import RunFile, write_run_file
    from leadstream_events.settings import mask_url

    run = RunFile(os.getpid(), system.redis_url, system.api_url, system.smtp_url, system.inbox_url)
    path = write_run_file(plan.data_dir, run)
    stack.callback(path.unlink, missing_ok=True)
    say(f"API and dashboard  {system.api_url}/")
    say(f"Redis              {mask_url(system.redis_url)}")
    inbox = f"  caught here: leadstream inbox, or {system.inbox_url}/mails" if system.inbox else ""
    say(f"mail               {mask_url(system.smtp_url)}{inbox}")
    say(f"data               {plan.data_dir.resolve()}")
    say("leadstream is ready; Ctrl-C stops it")
