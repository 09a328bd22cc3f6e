"""A subscriber ends his mails with the link and nothing else; without the link nothing changes and nothing is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from leadstream_events import keys, tokens
from leadstream_events.redis_client import connect
from leadstream_events.schemas.subscriber import Subscriber, SubscriberDraft, Suppression
from leadstream_events.settings import Settings
from leadstream_events.subscribers import SubscriberStore, utc_now
from leadstream_events.tokens import Purpose
from leadstream_mail import unsubscribe as links
from tests.integration.api.access_rig import Keys, guarded, problem
from tests.integration.api.conftest import api_client
from tests.support.ports import free_port

SECRETS = (b"a secret of sixteen or more",)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
HTML = {"Accept": "text/html"}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    path = tmp_path / "signing.secrets"
    path.write_bytes(SECRETS[0])
    return settings.model_copy(update={"signing_secret_file": path})


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with api_client(settings) as client:
        yield client


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[SubscriberStore]:
    client = connect(settings.redis_url, timeout_s=5.0)
    yield SubscriberStore(client)
    await client.aclose()


@pytest.fixture
async def buyer(store: SubscriberStore) -> Subscriber:
    return await store.add(SubscriberDraft(email="Buyer@example.org", name="Pat Buyer"), utc_now())


def path_of(subscriber: Subscriber | str) -> str:
    return links.PATH + links.token_of(SECRETS, subscriber if isinstance(subscriber, str) else subscriber.id)


async def told(raw: Any) -> list[str]:
    entries = await raw.xrange(keys.SUBSCRIBER_EVENTS)
    return [fields[b"type"].decode() for _, fields in entries if fields[b"type"].startswith(b"Recipient")]


async def suppression(store: SubscriberStore) -> Suppression | None:
    found = await store.suppressions()
    return found[0] if found else None


@pytest.mark.parametrize("multipart", [False, True])
async def test_one_click_stops_for_good_and_once(
    api: httpx.AsyncClient, store: SubscriberStore, buyer: Subscriber, raw: Any, multipart: bool
) -> None:
    for _ in range(3):
        files = {name: (None, value) for name, value in ONE_CLICK.items()}
        answer = await (
            api.post(path_of(buyer), files=files) if multipart else api.post(path_of(buyer), data=ONE_CLICK)
        )
        assert (answer.status_code, answer.text) == (200, "Unsubscribed.\n")
    found = await suppression(store)
    assert found is not None and (found.address, found.reason, found.expires_at) == (buyer.email, "unsubscribed", None)
    assert await told(raw) == ["RecipientUnsubscribed", "RecipientSuppressed"]


async def test_posts_at_the_same_time_are_one(api: httpx.AsyncClient, buyer: Subscriber, raw: Any) -> None:
    answers = await asyncio.gather(*(api.post(path_of(buyer), data=ONE_CLICK) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert await told(raw) == ["RecipientUnsubscribed", "RecipientSuppressed"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_whoever_only_looks_changes_nothing(
    api: httpx.AsyncClient, store: SubscriberStore, buyer: Subscriber, method: str
) -> None:
    answer = await api.request(method, path_of(buyer), headers=HTML)
    assert answer.status_code in (200, 204)
    assert await suppression(store) is None


async def test_the_page_names_the_address_masked_and_offers_every_choice(
    api: httpx.AsyncClient, buyer: Subscriber
) -> None:
    answer = await api.get(path_of(buyer), headers=HTML)
    assert answer.headers["content-type"].startswith("text/html")
    assert "B***@example.org" in answer.text and buyer.email not in answer.text and buyer.name not in answer.text
    for needle in ('value="pause"', 'value="stop"', 'value="7"', 'value="30" checked', 'value="90"'):
        assert needle in answer.text
    assert answer.headers["x-robots-tag"] == "noindex" and answer.headers["cache-control"] == "no-store"
    assert "script-src 'self'" in answer.headers["content-security-policy"] and "<script" not in answer.text


async def test_pause_then_stop_then_back_again(
    api: httpx.AsyncClient, store: SubscriberStore, buyer: Subscriber, raw: Any
) -> None:
    path = path_of(buyer)
    answer = await api.post(path, data={"wish": "pause", "days": "7"})
    assert answer.status_code == 303
    assert httpx.URL("http://localhost" + path).join(answer.headers["location"]).path == path
    shown = (await api.get("/subscribers")).json()["items"][0]
    assert shown["suppressed"] == "unsubscribed" and shown["suppressed_until"] is not None
    assert "unsubscribed until" in (await api.get("/ui/subscribers", headers=HTML)).text
    assert "No mail goes to this address" in (await api.get(f"/ui/subscribers/{buyer.id}", headers=HTML)).text
    found = await suppression(store)
    assert found and found.expires_at and abs(found.expires_at - utc_now() - timedelta(days=7)) < timedelta(minutes=1)
    assert "Paused" in (await api.get(path, headers=HTML)).text
    await api.post(path, data={"wish": "stop"})
    page = (await api.get(path, headers=HTML)).text
    assert "Stopped." in page and 'value="resume"' in page
    await api.post(path, data={"wish": "resume"})
    assert await suppression(store) is None
    assert (await told(raw))[-1] == "RecipientReleased"
    assert (await api.get("/subscribers")).json()["items"][0]["suppressed"] is None
    assert 'value="pause"' in (await api.get(path, headers=HTML)).text


async def test_undoing_never_lifts_what_an_operator_decided(
    api: httpx.AsyncClient, store: SubscriberStore, buyer: Subscriber
) -> None:
    await store.suppress(Suppression(address=buyer.email, reason="manual", created_at=utc_now()), utc_now())
    path = path_of(buyer)
    assert "at present" in (await api.get(path, headers=HTML)).text
    for wish in ("resume", "pause", "stop", "resume", "pause"):
        assert (await api.post(path, data={"wish": wish})).status_code == 303
    found = await suppression(store)
    assert found is not None and (found.reason, found.replaced, found.expires_at) == ("unsubscribed", "manual", None)
    assert 'value="resume"' not in (await api.get(path, headers=HTML)).text


def forgeries(subscriber: Subscriber) -> list[str]:
    good = links.token_of(SECRETS, subscriber.id)
    other = tokens.to_link(tokens.sign(SECRETS, Purpose.MAIL, b"u" + subscriber.id.encode()))
    foreign = links.token_of((b"somebody else's secret",), subscriber.id)
    return [
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        other,
        foreign,
        subscriber.id,
        "x",
        "A" * 36,
        "é",
        "a" * 5_000,
    ]


async def test_forged_links_change_nothing_and_all_look_the_same(
    api: httpx.AsyncClient, store: SubscriberStore, buyer: Subscriber
) -> None:
    answers = []
    for token in forgeries(buyer):
        answers.append(await api.get(links.PATH + token, headers=HTML))
        assert (await api.post(links.PATH + token, data=ONE_CLICK)).status_code == 404
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert "example.org" not in answers[0].text and "Pat" not in answers[0].text
    assert await suppression(store) is None


async def test_whoever_tries_many_links_has_to_wait_and_nobody_else_does(
    api: httpx.AsyncClient, buyer: Subscriber
) -> None:
    found = [(await api.get(f"{links.PATH}{number}")) for number in range(40)]
    assert [answer.status_code for answer in found] == [404] * 30 + [429] * 10
    assert int(found[-1].headers["retry-after"]) >= 1
    assert (await api.get(path_of(buyer))).status_code == 200


async def test_a_subscriber_who_clicks_on_and_on_has_to_wait(
    api: httpx.AsyncClient, buyer: Subscriber, raw: Any
) -> None:
    wishes = ["stop", "resume"] * 12
    answers = [(await api.post(path_of(buyer), data={"wish": wish})).status_code for wish in wishes]
    assert answers == [303] * 20 + [429] * 4
    assert len(await told(raw)) == 30


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [
        ({"data": {}}, 415),
        ({"data": {"List-Unsubscribe": "one-click"}}, 400),
        ({"data": {"wish": "everything"}}, 400),
        ({"data": {"wish": "pause", "days": "36500"}}, 400),
        ({"data": {"wish": "pause", "days": "-1"}}, 400),
        ({"json": ONE_CLICK}, 415),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
        ({"content": b"\xff=1", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
        ({"data": {"wish": "stop", "more": "x" * 20_000}}, 413),
        ({"files": {"wish": ("a.txt", b"stop")}}, 422),
    ],
)
async def test_forms_that_say_nothing_clear_change_nothing(
    api: httpx.AsyncClient, store: SubscriberStore, buyer: Subscriber, kwargs: dict[str, object], status: int
) -> None:
    assert (await api.post(path_of(buyer), **kwargs)).status_code == status  # type: ignore[arg-type]
    assert await suppression(store) is None


async def test_a_subscriber_who_was_removed_is_told_so_and_a_click_is_no_fault(
    api: httpx.AsyncClient, store: SubscriberStore, buyer: Subscriber
) -> None:
    await store.remove(buyer.id, utc_now())
    assert "Nothing to stop" in (await api.get(path_of(buyer), headers=HTML)).text
    assert (await api.post(path_of(buyer), data=ONE_CLICK)).status_code == 200
    assert await suppression(store) is None


async def test_no_key_is_needed_where_keys_are(settings: Settings, tmp_path: Path, store: SubscriberStore) -> None:
    buyer = await store.add(SubscriberDraft(email="b@example.org", name="B"), utc_now())
    keyed = Keys(tmp_path / "keys.jsonl")
    keyed.add("root", "admin")
    async with guarded(settings, keyed, public_url="https://mail.example.com/leads") as api:
        proxied = {"Host": "mail.example.com", "X-Forwarded-For": "192.0.2.7", **HTML}
        page = await api.get(path_of(buyer), headers=proxied)
        assert page.status_code == 200 and 'href="..&#x2f;ui&#x2f;assets' in page.text and 'action="' not in page.text
        answer = await api.post(
            path_of(buyer), data=ONE_CLICK, headers={**proxied, "Origin": "null", "Sec-Fetch-Site": "cross-site"}
        )
        assert answer.status_code == 200
    assert await suppression(store) is not None


async def test_without_a_file_the_secret_is_redis_own(settings: Settings, raw: Any, store: SubscriberStore) -> None:
    buyer = await store.add(SubscriberDraft(email="b@example.org", name="B"), utc_now())
    async with api_client(settings.model_copy(update={"signing_secret_file": None})) as api:
        assert (await api.get(path_of(buyer))).status_code == 404
        kept = await raw.hget(keys.META, "signing_secret")
        assert (await api.get(links.link("", (kept,), buyer.id))).status_code == 200


@pytest.mark.parametrize("own_secret", [True, False])
async def test_without_redis_it_says_when_to_come_back(settings: Settings, own_secret: bool) -> None:
    away = {"redis_url": f"redis://127.0.0.1:{free_port()}/0"} | ({} if own_secret else {"signing_secret_file": None})
    async with api_client(settings.model_copy(update=away)) as api:
        for answer in (
            await api.post(path_of("s1"), data=ONE_CLICK),
            await api.get(path_of("s1"), headers=HTML),
        ):
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        assert "try again" in answer.text
        assert problem(await api.post(path_of("s1"), data=ONE_CLICK)) == "redis-unavailable"


async def test_links_of_long_ago_work_still(api: httpx.AsyncClient, buyer: Subscriber) -> None:
    """A token holds no time, so there is none to run out (RFC 8058 wants links to last)."""
    old = Subscriber(id=buyer.id, created_at=datetime(2020, 1, 1, tzinfo=UTC), email=buyer.email, name=buyer.name)
    assert path_of(old) == path_of(buyer)
    assert (await api.get(path_of(old))).status_code == 200
