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
@click.option("--development", is_flag=True, help="Reach beyond this machine all the same.")
def up(
    port: int | None, data_dir: Path | None, redis_port: int | None, appendfsync: str, no_inbox: bool, development: bool
) -> None:
    """Run everything on this machine: server, API, fan-out, mailer, projections, archiver, and an inbox for the mail.

    LEADSTREAM_REDIS_URL or LEADSTREAM_SMTP_URL, when set, are used instead of the embedded server and the inbox. The
    bounce receiver runs too where LEADSTREAM_RETURN_PATH or LEADSTREAM_ABUSE_TO is set.

    It is for development and demos, so it refuses a Redis, a mail server, an archive or an API_HOST that is not on this
    machine; docs/deploy.md says what runs in production.
    """
    from leadstream_events.settings import load_settings

    settings = load_settings(
        **({} if port is None else {"api_port": port}), **({} if data_dir is None else {"data_dir": data_dir})
    )
    if not development:
        _stay_on_this_machine(settings, no_inbox)
    asyncio.run(_up(_plan(settings, redis_port, appendfsync, no_inbox)))


def _stay_on_this_machine(settings: Settings, no_inbox: bool) -> None:
    """Raises `ConfigurationError` for a setting that makes this more than a demo.

    The worst of them is a production's Redis beside the inbox of development: its mails would end there, as sent.
    """
    from leadstream_cli.connection import PREFIX, configured
    from leadstream_cli.nearby import elsewhere
    from leadstream_events.errors import ConfigurationError

    used = {
        "REDIS_URL": settings.redis_url if configured("redis_url") else "",
        "SMTP_URL": settings.smtp_url.get_secret_value() if no_inbox or configured("smtp_url") else "",
        "ARCHIVE_URL": settings.archive_url or "",
        "API_HOST": f"http://{settings.api_host}" if ":" not in settings.api_host else f"http://[{settings.api_host}]",
    }
    for name, url in used.items():
        if elsewhere(url):
            raise ConfigurationError(
                f"{PREFIX}{name} is not on this machine, and `up` is no production: run the services themselves "
                "(docs/deploy.md), or say --development if nobody's mail depends on it"
            )


def _plan(settings: Settings, redis_port: int | None, appendfsync: str, no_inbox: bool) -> Plan:
    from leadstream_cli.connection import configured
    from leadstream_cli.embedded_probe import port_taken
    from leadstream_cli.system import Plan

    if settings.api_port and settings.api_host == "127.0.0.1" and port_taken(settings.api_port):
        from leadstream_events.errors import ConfigurationError

        raise ConfigurationError(f"port {settings.api_port} on 127.0.0.1 is taken: choose another one with --port")
    _login_of_nobody()
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
        bounces=settings.return_path is not None or settings.abuse_to is not None,
        archive_url=settings.archive_url or str((settings.data_dir / "archive").absolute()),
    )


def _login_of_nobody() -> None:
    """Refuses a login for Redis where the server is one of our own, which asks for none."""
    from leadstream_cli.connection import PREFIX, REDIS_LOGIN, configured
    from leadstream_events.errors import ConfigurationError

    given = [name for name in REDIS_LOGIN if configured(f"redis_{name}")]
    if given and not configured("redis_url"):
        raise ConfigurationError(
            f"{PREFIX}REDIS_{given[0].upper()} is set, but {PREFIX}REDIS_URL is not: set it, or take the other away, "
            "for then `up` starts a server of its own"
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
    from leadstream_events.setting_values import mask_url

    run = RunFile(os.getpid(), system.redis_url, system.api_url, system.smtp_url, system.inbox_url)
    path = write_run_file(plan.data_dir, run)
    stack.callback(path.unlink, missing_ok=True)
    say(f"API and dashboard  {system.api_url}/")
    say(f"Redis              {mask_url(system.redis_url)}")
    inbox = f"  caught here: leadstream inbox, or {system.inbox_url}/mails" if system.inbox else ""
    say(f"mail               {mask_url(system.smtp_url)}{inbox}")
    say(f"data               {plan.data_dir.resolve()}")
    say("leadstream is ready; Ctrl-C stops it")
