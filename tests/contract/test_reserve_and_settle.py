"""reserve and settle: sent + reserved never passes purchased, and every reservation is counted at most once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from leadstream_events import keys
from leadstream_events.redis_client import Client
from leadstream_events.reservations import Reservation, Settled, reserve, settle

WHO = "subscriber"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def usage(client: Client, who: str = WHO) -> tuple[int, int]:
    return int(await client.hget(keys.quota(who), "sent") or 0), await client.scard(keys.reserved(who))


def wanted(number: int, purchased: int = 10, who: str = WHO) -> Reservation:
    return Reservation(f"mail-{number}", who, purchased)


def ended(number: int, sent: bool) -> Settled:
    return Settled(f"mail-{number}", WHO, sent, AT)


async def test_many_workers_at_once_reserve_no_more_than_purchased(client: Client) -> None:
    batches = [[wanted(10 * worker + n) for n in range(5)] for worker in range(12)]
    answers = await asyncio.gather(*(reserve(client, batch) for batch in batches))
    assert sum(ok for batch in answers for ok in batch) == 10
    assert await usage(client) == (0, 10)


async def test_more_mails_than_one_call_takes_are_granted_in_order(client: Client) -> None:
    assert await reserve(client, [wanted(n, 3_000) for n in range(4_500)]) == [True] * 3_000 + [False] * 1_500
    assert await usage(client) == (0, 3_000)


async def test_reserving_again_is_granted_and_changes_nothing(client: Client) -> None:
    assert await reserve(client, [wanted(1, purchased=1)]) == [True]
    assert await reserve(client, [wanted(1, purchased=1), wanted(1, purchased=1)]) == [True, True]
    assert await reserve(client, [wanted(2, purchased=1)]) == [False]
    assert await usage(client) == (0, 1)


async def test_what_was_sent_stays_used_and_what_failed_is_given_back(client: Client) -> None:
    await reserve(client, [wanted(1, 2), wanted(2, 2)])
    await settle(client, [ended(1, True), ended(2, False)])
    assert await usage(client) == (1, 0)
    assert await client.hget(keys.quota(WHO), "last_sent") == b"2026-01-02T03:04:05.000Z"
    assert await reserve(client, [wanted(3, 2), wanted(4, 2)]) == [True, False]


async def test_settling_again_or_the_other_way_round_counts_nothing(client: Client) -> None:
    await reserve(client, [wanted(1)])
    for sent in (True, True, False):
        await settle(client, [ended(1, sent)])
    assert await usage(client) == (1, 0)


async def test_concurrent_settlers_count_once(client: Client) -> None:
    await reserve(client, [wanted(1)])
    await asyncio.gather(*(settle(client, [ended(1, True)]) for _ in range(20)))
    assert await usage(client) == (1, 0)


async def test_workers_that_reserve_and_settle_at_once_never_pass_the_purchase(client: Client) -> None:
    seen: list[int] = []

    async def worker(number: int) -> int:
        done = 0
        for n in range(20):
            mail = 100 * number + n
            if (await reserve(client, [wanted(mail, 15)]))[0]:
                sent = mail % 3 != 0
                await settle(client, [ended(mail, sent)])
                done += sent
            seen.append(sum(await usage(client)))
        return done

    total = sum(await asyncio.gather(*(worker(n) for n in range(6))))
    assert total == (await usage(client))[0] == 15
    # two commands, so a mail that is settled between them may be seen twice, but never one that was not granted
    assert max(seen) <= 15 + 6


async def test_no_limit_reserves_all_the_same_and_zero_purchased_nothing(client: Client) -> None:
    assert await reserve(client, [wanted(n, -1) for n in range(5)]) == [True] * 5
    assert await usage(client) == (0, 5)
    assert await reserve(client, [wanted(1, 0, "nobody")]) == [False]


async def test_asking_for_nothing_asks_nobody(client: Client) -> None:
    before = (await client.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
    assert await reserve(client, []) == []
    await settle(client, [])
    assert (await client.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"] == before
