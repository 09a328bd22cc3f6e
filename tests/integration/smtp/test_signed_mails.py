"""Mails as a real Postfix delivers them: signed, well-formed, with every header that large receivers ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from email import policy
from email.parser import BytesParser
from pathlib import Path

import httpx
import pytest

from leadstream_events.settings import Settings
from leadstream_mail.dkim import DkimKey
from leadstream_mail.dkim_keys import keys_of, new_key, pem_of
from tests.support.dkim_check import verify
from tests.support.house import House
from tests.support.postfix import MAILBOX, Postfix, require_postfix
from tests.support.rfc5322 import missing, violations
from tests.support.waiting import DEADLINE_S, eventually

pytestmark = pytest.mark.slow

SENDER = "leads@example.com"
LEAD = {"full_name": "Ada Exämple ✓", "email": f"ada@{MAILBOX}", "state": "CA", "phone_number": "+1 202 555 0143"}


@pytest.fixture
def keys(tmp_path: Path) -> tuple[dict[str, str], tuple[DkimKey, ...]]:
    """The environment of both keys, and the keys."""
    files = {"dkim": new_key(ed25519=False), "dkim_ed25519": new_key(ed25519=True)}
    change: dict[str, object] = {}
    for name, key in files.items():
        path = tmp_path / f"{name}.pem"
        path.write_bytes(pem_of(key))
        change |= {f"{name}_selector": name.replace("_", "-"), f"{name}_key_file": path}
    settings = Settings(mail_from=SENDER).model_copy(update=change)
    return {f"LEADSTREAM_{name.upper()}": str(value) for name, value in change.items()}, keys_of(settings)


@pytest.fixture
def town(tmp_path: Path, keys: tuple[dict[str, str], tuple[DkimKey, ...]]) -> Iterator[tuple[House, Postfix]]:
    require_postfix()
    with ExitStack() as stack:
        postfix = stack.enter_context(Postfix())
        env = {"LEADSTREAM_SMTP_URL": postfix.url, "LEADSTREAM_MAIL_FROM": SENDER, **keys[0]}
        env["LEADSTREAM_PUBLIC_URL"] = "https://leads.example.com"
        house = stack.enter_context(
            House(tmp_path, mailers=1, appendfsync="always", **env)
        )  # the processes see the environment of now
        house.start()
        yield house, postfix


def by_recipient(raws: list[bytes]) -> dict[str, bytes]:
    parser = BytesParser(policy=policy.default)
    return {parser.parsebytes(raw, headersonly=True)["To"].addresses[0].addr_spec: raw for raw in raws}


async def test_mails_that_postfix_delivered_verify_and_hold_every_header_that_is_asked_for(
    town: tuple[House, Postfix], keys: tuple[dict[str, str], tuple[DkimKey, ...]]
) -> None:
    house, postfix = town
    subscribers = [f"s{number}@{MAILBOX}" for number in range(3)]
    async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=DEADLINE_S) as client:
        for address, form in zip(subscribers, ("html", "text", "adf"), strict=True):
            body = {"email": address, "name": "Jürgen von der größten Straße und Söhne", "format": form}
            (await client.post("/subscribers", json=body)).raise_for_status()
        (await client.post("/leads", json=LEAD)).raise_for_status()

    async def all_there() -> bool:
        return len(await asyncio.to_thread(postfix.delivered)) == len(subscribers) + 1

    await eventually(all_there, "Postfix to deliver every mail", 60.0)
    mails = by_recipient(postfix.delivered())
    assert set(mails) == {*subscribers, LEAD["email"]}
    for address, stored in mails.items():
        raw = stored.replace(b"\n", b"\r\n")
        assert verify(raw, keys[1]) == [True, True], address
        assert violations(raw) == []
        assert missing(raw, subscribed=address in subscribers) == []
        assert (b"\r\nReply-To: " in raw) is (address in subscribers)
    assert b"<html" in mails[subscribers[0]] and b"<html" not in mails[subscribers[1]]
    assert b"\r\n\r\n<?xml" in mails[subscribers[2]].replace(b"\n", b"\r\n")
