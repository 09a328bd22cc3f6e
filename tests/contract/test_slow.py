"""slow: halves a domain's rate for all workers, once for all the mails under way, and forgets it by itself."""

from __future__ import annotations

from leadstream_events import keys, slowing
from leadstream_events.redis_client import Client
from leadstream_events.slow_down import FIRST, GAIN, LEAST, OVER, SETTLE_MS


async def put(client: Client, name: str, per_minute: float, ago_ms: int) -> None:
    seconds, micros = await client.time()
    await client.hset(keys.SLOW, name, f"{per_minute:.3f} {seconds * 1000 + micros // 1000 - ago_ms}")


async def rate(client: Client, name: str) -> float | None:
    found, now_ms = await slowing.read(client)
    return found[name].rate_at(now_ms) if name in found else None


async def test_the_first_reply_gives_the_first_rate(client: Client) -> None:
    assert await slowing.note(client, "google", 1000.0)
    assert FIRST <= (await rate(client, "google") or 0) < FIRST + 1
    assert 0 < await client.pttl(keys.SLOW) <= (OVER - LEAST) / GAIN * 60_000


async def test_a_domain_with_a_low_limit_begins_lower(client: Client) -> None:
    assert await slowing.note(client, "a.example", 5.0)
    assert 5.0 <= (await rate(client, "a.example") or 0) < 6.0


async def test_replies_to_the_mails_under_way_count_once(client: Client) -> None:
    assert await slowing.note(client, "google", 30.0)
    assert [await slowing.note(client, "google", 30.0) for _ in range(5)] == [False] * 5
    assert (await rate(client, "google") or 0) >= 30.0


async def test_a_later_reply_halves_what_the_rate_has_risen_to(client: Client) -> None:
    await put(client, "google", 30.0, 5 * 60_000)
    assert await slowing.note(client, "google", 30.0)
    halved = (30.0 + 5 * GAIN) / 2
    assert halved <= (await rate(client, "google") or 0) < halved + 1


async def test_no_rate_falls_under_the_least(client: Client) -> None:
    await put(client, "google", LEAST, SETTLE_MS + 1)
    assert await slowing.note(client, "google", 30.0)
    assert LEAST <= (await rate(client, "google") or 0) < LEAST + 1


async def test_a_rate_that_has_risen_far_enough_is_over_and_forgotten(client: Client) -> None:
    await put(client, "old.example", 30.0, int((OVER - 30) / GAIN * 60_000) + 1)
    assert await rate(client, "old.example") is None
    assert await slowing.note(client, "google", 30.0)
    assert await client.hkeys(keys.SLOW) == [b"google"]


async def test_what_was_over_begins_at_the_first_rate_again(client: Client) -> None:
    await put(client, "google", 2.0, int(OVER / GAIN * 60_000))
    assert await slowing.note(client, "google", 30.0)
    assert 30.0 <= (await rate(client, "google") or 0) < 31.0
