"""Every service works as its own user and is refused nothing.

The sign is an empty ACL LOG after everything was done once: Redis notes there whatever it refuses, also inside scripts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import smtplib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from leadstream_cli.main import run
from leadstream_cli.redis_acl import ADMIN
from leadstream_events import keys
from leadstream_events.ids import email_id
from leadstream_events.redis_client import connect
from leadstream_events.schemas.events import Kind
from leadstream_events.settings import Settings
from leadstream_events.signing import signing_secrets
from leadstream_mail import unsubscribe as links
from leadstream_mail.mail_token import mail_token
from leadstream_mail.return_path import return_path
from tests.integration.cli.conftest import Result
from tests.support.ports import free_port
from tests.support.redis_server import SERVERS, binary_of
from tests.support.report_mails import dsn
from tests.support.ruled_house import RuledHouse
from tests.support.waiting import eventually_sync

Command = Callable[..., Result]
BASE, POSTMARK = "bounce@leads.example.com", "postmark-token-0123456789"
LEADS = keys.stream(0, keys.LEADS)
PATHS = (
    "/health/ready", "/stats", "/stats/subscribers", "/stats/series?bucket=hour", "/streams", "/dead-letters", "/leads",
    "/subscribers", "/suppressions", "/metrics", "/", "/previews/notification",
)  # fmt: skip
READING = (
    "streams", "groups", "consumers mailer", "pending mailer", "limits", "operations", "summary", "dead list",
    "subscribers list", "suppressions list", "archive status", "archive list", "archive verify", "encryption status",
    "projections status", "bounces list", "replay --since 1h --handler fanout --dry-run", "export", "tail leads",
    "claim mailer --dry-run", "trim leads --before 1h --dry-run",
)  # fmt: skip


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RuledHouse]:
    env = {
        "LEADSTREAM_RETRY_DELAYS": "200ms",
        "LEADSTREAM_ARCHIVE_URL": str(tmp_path / "archive"),
        "LEADSTREAM_RETAIN": "off",
        "LEADSTREAM_RETURN_PATH": BASE,
        "LEADSTREAM_CONCURRENCY_DOMAINS": "example.com=2",
        "LEADSTREAM_RATE_LIMIT": "6000/min",
        "LEADSTREAM_SUMMARY_TO": "ops@example.com",
        "LEADSTREAM_SUMMARY_AT": "00:00",
        "LEADSTREAM_WEBHOOK_POSTMARK_TOKEN": POSTMARK,
    }
    server, together = request.param
    with RuledHouse(tmp_path / "house", binary_of(server), free_port(), env) as made:
        if together:
            made.under_one_parent()
        yield made.start()


@pytest.fixture
def cli(house: RuledHouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name, value in house.login_env("cli").items():
        monkeypatch.setenv(name, value)

    def call(*args: str, code: int | None = 0) -> Result:
        capsys.readouterr()
        found = run(args)
        out, err = capsys.readouterr()
        assert code is None or found == code, f"{args}: exit code {found}\n{out}\n{err}"
        return Result(found, out, err)

    return call


@pytest.mark.parametrize("house", [(server, False) for server in SERVERS], ids=SERVERS, indirect=True)
def test_the_whole_house_works_and_nothing_that_it_does_is_refused(house: RuledHouse, cli: Command) -> None:
    lead = at_work(house, cli)
    for line in READING:
        cli(*line.split())
    operated(house, cli, lead)
    assert house.ruled.refused() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leadstream serve needs Linux")
@pytest.mark.parametrize("house", [(server, True) for server in SERVERS], ids=SERVERS, indirect=True)
def test_all_services_with_the_one_login_of_their_parent_are_refused_nothing(house: RuledHouse, cli: Command) -> None:
    at_work(house, cli)


def at_work(house: RuledHouse, cli: Command) -> str:
    """The work of every service, none of which Redis may refuse; returns the id of a lead."""
    lead, limited = mailed(house, cli)
    counted(cli, limited)
    secrets = secrets_of(house)
    reported(house, secrets, lead)
    redriven(house, cli)
    asked_by_http(house, secrets, lead)
    without_redis(house)
    assert house.ruled.refused() == []
    return lead


def mailed(house: RuledHouse, cli: Command) -> tuple[str, str]:
    """Mails leave, one after a reply that names the pace; one address is refused for good."""
    faults = [
        {"phase": "rcpt", "code": 450, "text": "4.7.1 rate limit exceeded", "argument": "s0@", "times": 1},
        {"phase": "rcpt", "code": 550, "text": "5.1.1 no such user", "argument": "s1@", "times": None},
    ]
    house.inbox.post("/script", {"faults": faults})
    asyncio.run(house.add_subscribers(3))
    added = cli("subscribers", "add", "s7@example.com", "--name", "Sam", "--leads-purchased", "5", "--json").json
    (lead,) = asyncio.run(house.post_leads(1))
    mails = {email_id(lead, Kind.NOTIFICATION, who) for who in (house.subscribers[0], added["id"])}
    eventually_sync(lambda: mails <= house.inbox.copies().keys(), "the mails to arrive")
    eventually_sync(lambda: cli("dead", "list", "--json").json, "the dead letter")
    eventually_sync(lambda: "ops@example.com" in str(house.inbox.get("/messages")), "the day's summary")
    return lead, added["id"]


def counted(cli: Command, limited: str) -> None:
    def sent() -> bool:
        rows = {row["id"]: row for row in cli("subscribers", "list", "--json").json}
        return bool(rows[limited]["leads_sent"] == 1)

    eventually_sync(sent, "the purchased lead to be counted")
    cli("projections", "rebuild", "--all", "--check-only")
    cli("projections", "rebuild", "--all")
    cli("projections", "verify")


def secrets_of(house: RuledHouse) -> Sequence[bytes]:
    async def found() -> Sequence[bytes]:
        client = connect(house.access, timeout_s=5.0)
        try:
            return await signing_secrets(client, Settings())
        finally:
            await client.aclose()

    return asyncio.run(found())


def reported(house: RuledHouse, secrets: Sequence[bytes], lead: str) -> None:
    """A mailbox is full, by mail and by a webhook; and a mail of nobody is kept."""
    mail = email_id(lead, Kind.NOTIFICATION, house.subscribers[0])
    to = return_path(BASE, secrets, lead, mail)
    for recipient in (to, "bounce+x@leads.example.com"):
        report = dsn(recipient, "s0@example.com", status="4.2.2", message_id=f"<{len(recipient)}@mx>")
        with smtplib.SMTP("127.0.0.1", house.bounces_port, timeout=60.0) as client:
            client.sendmail("", [recipient], report)
    event: dict[str, Any] = {"RecordType": "Bounce", "ID": 42, "Type": "HardBounce", "Email": "s0@example.com"}
    event |= {"Details": "smtp;550 5.1.1", "Metadata": {"leadstream-mail": mail_token(secrets, lead, mail)}}
    answer = httpx.post(
        f"{house.base}/webhooks/postmark", json=event, auth=("postmark", POSTMARK), trust_env=False, timeout=60.0
    )
    assert answer.json() == {"events": 1, "results": {"new": 1}}
    with house.ruled.client(ADMIN) as admin:
        assert admin.hexists(keys.SUPPRESSIONS, "s0@example.com")
        assert admin.xlen(keys.KEPT_REPORTS) == 1


def redriven(house: RuledHouse, cli: Command) -> None:
    """The refused address is corrected, and its mail sent."""
    cli("subscribers", "change", house.subscribers[1], "--email", "corrected@example.com")
    (letter,) = cli("dead", "list", "--json").json
    assert cli("dead", "redrive", "--cause", letter["cause"], "--yes", "--why", "a test", "--json").json["done"] == 1
    eventually_sync(lambda: "corrected@" in str(house.inbox.get("/messages")), "the mail to be sent")


def asked_by_http(house: RuledHouse, secrets: Sequence[bytes], lead: str) -> None:
    with httpx.Client(base_url=house.base, trust_env=False, timeout=60.0) as api:
        for path in (*PATHS, f"/leads/{lead}"):
            assert api.get(path).status_code == 200, path
        link = links.PATH + links.token_of(secrets, house.subscribers[2])
        assert api.post(link, data={"List-Unsubscribe": "One-Click"}).status_code == 200
        assert api.post("/suppressions", json={"address": "s9@example.com"}).status_code == 201
        assert api.delete("/suppressions/s9@example.com").status_code == 204
        made = api.post("/subscribers", json={"email": "s8@example.com", "name": "Pat"}).json()["id"]
        assert api.delete(f"/subscribers/{made}").status_code == 204
        taken = api.post("/leads", json={"full_name": "Kim", "email": "kim@example.com"}).json()["lead_id"]
        assert api.delete(f"/leads/{taken}").status_code in (200, 204)


def without_redis(house: RuledHouse) -> None:
    """The server stops answering: the API mails by itself, and merges what it did once it answers again."""
    os.kill(house.server.pid, signal.SIGSTOP)
    try:
        with httpx.Client(base_url=house.base, trust_env=False, timeout=60.0) as api:
            answer = api.post("/leads", json={"full_name": "Dana", "email": "dana@example.com"}).json()
        assert answer["mode"] == "fallback"
        eventually_sync(lambda: "dana@example.com" in str(house.inbox.get("/messages")), "the API to mail")
    finally:
        os.kill(house.server.pid, signal.SIGCONT)

    def merged() -> bool:
        with house.ruled.client(ADMIN) as admin:
            return bool(admin.hexists(keys.ledger(0, answer["lead_id"]), "lead"))

    eventually_sync(merged, "the lead to be merged")
    eventually_sync(lambda: asyncio.run(house.nothing_pending()), "nothing to be pending")


def operated(house: RuledHouse, cli: Command, lead: str) -> None:
    """What is done by hand; the archiver trims meanwhile."""
    cli("trace", lead)
    cli("doctor", code=None)
    cli("lead", "erase", lead, "--yes")
    exported = house.folder / "exported.jsonl"
    cli("export", "--pii", str(exported))
    cli("import", "--merge", "--yes", str(exported), code=None)

    for service in ("archiver", "projections"):
        house.renew(service, LEADSTREAM_RETAIN="1s")

    def trimmed() -> bool:
        with house.ruled.client(ADMIN) as admin:
            return int(admin.xlen(LEADS)) == 0

    eventually_sync(trimmed, "what is archived to be trimmed")
    cli("trace", lead, code=None)
    house.processes["mailer"].terminate()
    cli("seek", "mailer", "--to", "beginning", "--dead-after", "0", "--yes", "--why", "a test")
    with house.ruled.client(ADMIN) as admin:
        admin.xgroup_create(LEADS, "theirs")
    cli("groups", "remove", "theirs", "--yes")
