"""Everything on this machine: an embedded server, an inbox and the services, as one thing that starts and stops.

What starts later stops first, and nothing stays behind, however this process ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from leadstream_cli.connection import PREFIX, REDIS_LOGIN, redis_client, with_login
from leadstream_cli.embedded import EmbeddedServer
from leadstream_cli.embedded_probe import free_port, port_taken
from leadstream_cli.inbox import Inbox, listen, port_of
from leadstream_cli.inbox_http import listen_http
from leadstream_cli.parts import make_parts
from leadstream_cli.supervisor import Supervisor
from leadstream_events.errors import LeadstreamError

_READY_WITHIN_S = 60.0
_SERVER_LOOK_S = 0.2
DEFAULT_REDIS_PORT = 6379


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `redis_url` and `smtp_url` None mean: bring your own; ports 0 mean: a free one.

    Without `archive_url` there is no archiver; `bounces` says whether there is a bounce receiver.
    """

    data_dir: Path
    redis_url: str | None
    smtp_url: str | None
    partitions: int
    api_host: str = "127.0.0.1"
    api_port: int = 0
    redis_port: int | None = 0
    appendfsync: str = "everysec"
    log_dir: Path | None = None
    stop_within_s: float = 15.0
    archive_url: str | None = None
    bounces: bool = False
    env: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class System:
    """What runs. `inbox` is None when mail goes to a real server."""

    redis_url: str
    api_url: str
    smtp_url: str
    inbox_url: str
    inbox: Inbox | None
    supervisor: Supervisor


Say = Callable[[str], None]


@asynccontextmanager
async def running(plan: Plan, say: Say) -> AsyncIterator[System]:
    """Starts everything and yields once all of it is ready; stops everything at the end."""
    async with AsyncExitStack() as stack:
        redis_url = plan.redis_url
        if redis_url is None:
            redis_url = await stack.enter_async_context(_embedded(plan, say))
        inbox, smtp_url, inbox_url = None, plan.smtp_url or "", ""
        if plan.smtp_url is None:
            inbox = Inbox()
            smtp_url, inbox_url = await stack.enter_async_context(_open_inbox(inbox))
        port = plan.api_port or free_port()
        host = f"[{plan.api_host}]" if ":" in plan.api_host else plan.api_host
        api_url = f"http://{host}:{port}"
        client = await stack.enter_async_context(
            redis_client(redis_url if plan.redis_url is None else with_login(redis_url))
        )
        supervisor = Supervisor(
            make_parts(client, plan.partitions, api_url, archiver=plan.archive_url is not None, bounces=plan.bounces),
            _environment(plan, redis_url, smtp_url, port, api_url),
            say,
            log_dir=plan.log_dir,
            stop_within_s=plan.stop_within_s,
        )
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        await supervisor.wait_ready(_READY_WITHIN_S)
        yield System(redis_url, api_url, smtp_url, inbox_url, inbox, supervisor)


def _environment(plan: Plan, redis_url: str, smtp_url: str, port: int, api_url: str) -> dict[str, str]:
    """What the services see: our environment, with the addresses of what was started here."""
    env = dict(os.environ if plan.env is None else plan.env)
    env[PREFIX + "REDIS_URL"] = redis_url
    if plan.redis_url is None:
        for name in REDIS_LOGIN:  # they belong to another server
            env.pop(f"{PREFIX}REDIS_{name.upper()}", None)
    env[PREFIX + "API_HOST"], env[PREFIX + "API_PORT"] = plan.api_host, str(port)
    env[PREFIX + "DATA_DIR"] = str(plan.data_dir.resolve())
    env[PREFIX + "PARTITIONS"] = str(plan.partitions)
    if plan.archive_url is not None:
        env[PREFIX + "ARCHIVE_URL"] = plan.archive_url
    if plan.smtp_url is None:
        env[PREFIX + "SMTP_URL"] = smtp_url
        for secret in ("SMTP_PASSWORD", "SMTP_PASSWORD_FILE"):  # they belong to another server
            env.pop(PREFIX + secret, None)
    env.setdefault(PREFIX + "PUBLIC_URL", api_url)
    return env


@asynccontextmanager
async def _open_inbox(inbox: Inbox) -> AsyncIterator[tuple[str, str]]:
    smtp, http = await listen(inbox), await listen_http(inbox)
    try:
        yield f"smtp://127.0.0.1:{port_of(smtp)}", f"http://127.0.0.1:{port_of(http)}"
    finally:
        smtp.close()
        http.close()


@asynccontextmanager
async def _embedded(plan: Plan, say: Say) -> AsyncIterator[str]:
    """Yields the address of an embedded server that is started again, at the same place, when it dies."""
    port = plan.redis_port
    if port is None:
        port = 0 if port_taken(DEFAULT_REDIS_PORT) else DEFAULT_REDIS_PORT
    directory = plan.data_dir / "redis"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    server = await _start(directory, plan.appendfsync, port)
    keeper = _Keeper(server, plan.appendfsync, directory, say)
    task = asyncio.create_task(keeper.run(), name="keep-redis")
    try:
        yield server.url
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(keeper.server.stop)


async def _start(directory: Path, appendfsync: str, port: int) -> EmbeddedServer:
    return await asyncio.to_thread(EmbeddedServer.start, directory, appendfsync=appendfsync, port=port)


class _Keeper:
    """Watches the server process and starts it again."""

    def __init__(self, server: EmbeddedServer, appendfsync: str, directory: Path, say: Say) -> None:
        self.server = server
        self._appendfsync, self._directory, self._say = appendfsync, directory, say

    async def run(self) -> None:
        """Runs until cancelled."""
        port = int(self.server.url.rpartition(":")[2].partition("/")[0])
        while True:
            await asyncio.sleep(_SERVER_LOOK_S)
            if self.server.alive():
                continue
            self._say("the embedded server ended; restarting it")
            self.server.kill()
            try:
                self.server = await asyncio.shield(_start(self._directory, self._appendfsync, port))
                self._say("the embedded server is back")
            except LeadstreamError as error:
                self._say(f"the embedded server does not start: {error}")
