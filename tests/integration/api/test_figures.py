"""Counters add up over partitions, and lag is counted right where the server's own figure is wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx

from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import EntryDeadLettered
from leadstream_events.settings import Settings
from tests.integration.api.conftest import LEAD, api_client

LEADS = keys.stream(0, keys.LEADS)
NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)


async def test_totals_add_partitions_up_and_follow_the_live_generation(settings: Settings, raw: Client) -> None:
    await raw.hset(keys.projection(0, "totals", 1), mapping={"leads": "99"})
    await raw.hset(keys.projection_pointer(0), "totals", "2")
    await raw.hset(keys.projection(0, "totals", 2), mapping={"leads": "2", "sent": "1", "failed:refused": "1"})
    await raw.hset(keys.projection(1, "totals", 1), mapping={"leads": "3", "sent": "1"})
    async with api_client(settings.model_copy(update={"partitions": 2})) as api:
        shown = (await api.get("/stats")).json()
    assert (shown["leads"], shown["sent"], shown["failed"]) == (5, 2, 0)
    assert shown["counters"] == {"failed:refused": 1, "leads": 5, "sent": 2}


async def test_subscriber_counters_name_their_subscriber_and_keep_removed_ones(
    api: httpx.AsyncClient, raw: Client
) -> None:
    draft = {"email": "s@example.com", "name": "Sam", "leads_purchased": 5}
    subscriber = (await api.post("/subscribers", json=draft)).json()["id"]
    fields = {f"{subscriber}:sent": "2", f"{subscriber}:last_sent": "2026-03-29T12:00:00Z", "gone:failed": "1"}
    await raw.hset(keys.projection(0, "subscribers", 1), mapping=fields)
    known, gone = (await api.get("/stats/subscribers")).json()["items"]
    assert (known["name"], known["sent"], known["last_sent"]) == ("Sam", 2, "2026-03-29T12:00:00Z")
    assert known["leads_remaining"] == 5
    assert (gone["subscriber_id"], gone["name"], gone["failed"]) == ("gone", None, 1)


async def test_a_series_has_every_bucket_of_its_span(api: httpx.AsyncClient, raw: Client) -> None:
    hashes = {
        "minute:20260331": {"23:59 leads": "1"},
        "minute:20260401": {"00:00 sent:welcome": "2"},
        "hour:202603": {"31T23 leads": "3"},
        "day:2026": {"03-31 leads": "4", "04-01 leads": "5"},
    }
    for part, fields in hashes.items():
        await raw.hset(keys.projection(0, "series", 1, part), mapping=fields)

    async def points(bucket: str, since: str, until: str) -> list[tuple[str, dict[str, int]]]:
        query = {"bucket": bucket, "since": since, "until": until}
        answer = await api.get("/stats/series", params=query)
        assert answer.status_code == 200, answer.text
        return [(point["start"], point["counts"]) for point in answer.json()["points"]]

    assert await points("minute", "2026-03-31T23:58:30Z", "2026-04-01T00:01:00Z") == [
        ("2026-03-31T23:58:00Z", {}),
        ("2026-03-31T23:59:00Z", {"leads": 1}),
        ("2026-04-01T00:00:00Z", {"sent:welcome": 2}),
    ]
    assert await points("hour", "2026-04-01T01:00:00+02:00", "2026-04-01T00:00:00Z") == [
        ("2026-03-31T23:00:00Z", {"leads": 3})
    ]
    assert await points("day", "2026-03-31T00:00:00Z", "2026-04-02T00:00:00Z") == [
        ("2026-03-31T00:00:00Z", {"leads": 4}),
        ("2026-04-01T00:00:00Z", {"leads": 5}),
    ]


async def _group(api: httpx.AsyncClient, stream: str = LEADS) -> dict[str, object]:
    streams = (await api.get("/streams")).json()["items"]
    (group,) = next(each for each in streams if each["stream"] == stream)["groups"]
    return dict(group)


async def test_lag_is_counted_right_after_reading_deleting_and_trimming(api: httpx.AsyncClient, raw: Client) -> None:
    """docs/cases.md, case 103: the server's own lag stays above 0 here."""
    for number in range(1, 6):
        await raw.xadd(LEADS, {"a": "b"}, id=f"{number}-0")
    await raw.xgroup_create(LEADS, "g", "0")
    assert ((await _group(api))["lag"], (await _group(api))["pending"]) == (5, 0)
    await raw.xreadgroup("g", "c", {LEADS: ">"}, count=3)
    assert ((await _group(api))["lag"], (await _group(api))["pending"]) == (2, 3)
    await raw.xtrim(LEADS, maxlen=1, approximate=False)
    assert (await _group(api))["lag"] == 1
    await raw.xreadgroup("g", "c", {LEADS: ">"})
    group = await _group(api)
    assert (group["lag"], group["lag_exact"], group["pending"]) == (0, True, 4)
    assert isinstance(group["oldest_pending_s"], float) and group["oldest_pending_s"] > 1_000_000


async def test_parked_entries_are_told_apart_from_other_pending_ones(api: httpx.AsyncClient, raw: Client) -> None:
    await raw.xadd(LEADS, {"a": "b"})
    await raw.xadd(LEADS, {"a": "b"})
    await raw.xgroup_create(LEADS, "g", "0")
    await raw.xreadgroup("g", "c", {LEADS: ">"}, count=1)
    await raw.xreadgroup("g", keys.PARKED, {LEADS: ">"}, count=1)
    assert ((await _group(api))["pending"], (await _group(api))["parked"]) == (2, 1)


async def test_dead_letters_show_their_cause_and_not_the_entry(api: httpx.AsyncClient, raw: Client) -> None:
    letter = EntryDeadLettered(
        stream=LEADS, entry_id="1-1", group="fanout", cause="bad_data", deliveries=3, fields={"data": "SECRET"}
    )
    dead = keys.stream(0, keys.DEAD)
    for _ in range(3):
        await raw.xadd(dead, encode(make_event(letter, subject="lead-1", now=NOW)))
    await raw.xadd(dead, {"x": "y"})
    answer = await api.get("/dead-letters", params={"limit": 2})
    first = answer.json()
    rest = (await api.get("/dead-letters", params={"limit": 9, "cursor": first["next_cursor"]})).json()
    assert [item["cause"] for item in first["items"]] == ["missing_field", "bad_data"]
    assert [(item["group"], item["lead_id"], item["deliveries"]) for item in rest["items"]] == [
        ("fanout", "lead-1", 3)
    ] * 2
    assert rest["next_cursor"] is None
    assert "SECRET" not in answer.text


async def test_metrics_count_leads_by_door_and_reason_and_answers_by_route(api: httpx.AsyncClient) -> None:
    lead_id = (await api.post("/leads", json=LEAD)).json()["lead_id"]
    await api.post("/leads", json=LEAD | {"city": 1})
    await api.get(f"/leads/{lead_id}")
    await api.get("/nope/dana@example.com")
    text = (await api.get("/metrics")).text
    assert 'leadstream_api_leads_accepted_total{door="stream",mode="stream"} 1.0' in text
    assert 'leadstream_api_leads_refused_total{door="stream",reason="invalid-fields"} 1.0' in text
    assert 'leadstream_api_responses_total{method="GET",route="/leads/{lead_id}",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert "dana" not in text
    assert lead_id not in text
