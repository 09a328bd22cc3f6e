"""CPU of every page of the dashboard with many entries in the streams: `python -m benchmarks.dashboard [ENTRIES]`.

Fills an embedded server of its own (three tenths leads, emails and outcomes each, a tenth dead letters, groups that
are far behind), asks each page three times in this process, and prints the CPU of the slowest and the fastest answer,
that of the client included. Exit code 1 when one took half a second or more.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from leadstream_events.effects import Argument
from leadstream_events.envelope import encode, flat, make_event
from leadstream_events.ids import email_id, new_id
from leadstream_events.ledger import Row, State
from leadstream_events.redis_client import Client, connect
from leadstream_events.runtime.delivery import Delivery, dead_letter
from leadstream_events.schemas.events import EmailRequested, EmailSent, Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.settings import Settings
from tests.integration.api.conftest import api_client

LIMIT_S = 0.5
_STEP = 20_000
_FILL = (
    "local f={} for n=2,#ARGV do f[#f+1]=ARGV[n] end "
    "for _=1,tonumber(ARGV[1]) do redis.call('XADD',KEYS[1],'*',unpack(f)) end"
)
_GROUPS = (keys.FANOUT, keys.MAILER, keys.PROJECTION_PREFIX + "totals")


async def fill(client: Client, entries: int) -> str:
    """Stores the entries; returns the id of the one lead that they are all about."""
    now, lead_id = datetime.now(UTC), new_id()
    mail = email_id(lead_id, Kind.NOTIFICATION, "s")
    lead = LeadReceived(lead=Lead(full_name="Ada Example", email="ada@example.com", state="CA"))
    asked = EmailRequested(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id="s", to="s@example.com", lead_entry="1-1"
    )
    sent = EmailSent(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id="s", attempt=1, code=250, reply="ok", message_id="<m@e>"
    )
    request = make_event(asked, subject=lead_id, now=now)
    fields = {name.encode(): value.encode() for name, value in encode(request).items()}
    letter = dead_letter(Delivery(0, "emails", "1-1", fields, request), keys.MAILER, "smtp_550", "no such user", now)
    events: dict[str, tuple[float, list[Argument]]] = {
        keys.LEADS: (0.3, [*flat(make_event(lead, subject=lead_id, now=now))]),
        keys.EMAILS: (0.3, [*flat(request)]),
        keys.OUTCOMES: (0.3, [*flat(make_event(sent, subject=lead_id, now=now))]),
        keys.DEAD: (0.1, [*letter.args[1:]]),
    }
    for name, (share, args) in events.items():
        stream, left = keys.stream(0, name), int(entries * share)
        while left > 0:
            await client.eval(_FILL, 1, stream, min(_STEP, left), *args)
            left -= _STEP
        for group in _GROUPS if name != keys.DEAD else ():
            third = (await client.xrange(stream, count=3))[-1][0]
            await client.xgroup_create(stream, group, third)
    first = (await client.xrange(keys.stream(0, keys.LEADS), count=1))[0][0].decode()
    await client.hset(keys.ledger(0, lead_id), mapping={"lead": f"{first} x", mail: str(Row(State.SENT, 1))})
    return lead_id


async def measure(settings: Settings, lead_id: str) -> float:
    """Prints the CPU of each page; returns that of the slowest answer, in seconds."""
    paths: tuple[str, ...] = (
        "/",
        "/?bucket=day",
        "/ui/leads",
        "/ui/leads?q=nobody",
        "/ui/leads?state=NY",
        f"/ui/leads/{lead_id}",
    )
    paths += ("/ui/subscribers", "/ui/dead-letters", "/ui/dead-letters?cause=none", "/ui/dead-letters/redrive")
    paths += ("/ui/suppressions", "/ui/previews", "/ui/streams", "/ui/streams?stream=leads", "/previews/notification")
    slowest = 0.0
    async with api_client(settings) as api:
        for path in paths:
            spent = []
            for _ in range(3):
                began = time.process_time()
                answer = await api.get(path, headers={"Accept": "text/html"})
                spent.append(time.process_time() - began)
                answer.raise_for_status()
            slowest = max(slowest, *spent)
            print(f"{path.replace(lead_id, '{id}'):32} {1000 * max(spent):7.1f} ms {1000 * min(spent):7.1f} ms")
    return slowest


async def main(entries: int) -> int:
    """Runs it; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer.start(Path(folder) / "redis", appendfsync="no")
        client = connect(server.url, timeout_s=60.0)
        try:
            lead_id = await fill(client, entries)
            slowest = await measure(Settings(redis_url=server.url, data_dir=Path(folder) / "data"), lead_id)
        finally:
            await client.aclose()
            server.stop()
    print(f"{entries:,} entries: the slowest page took {1000 * slowest:.0f} ms CPU; the limit is {LIMIT_S * 1000:.0f}")
    return int(slowest >= LIMIT_S)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
