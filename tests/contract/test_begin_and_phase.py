"""begin and phase: who may attempt a mail, and the last look before its content goes out."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from leadstream_events import keys, scripts
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.redis_client import Client

LEDGER = keys.ledger(0, "lead-1")
LEASE_MS = 60_000
LIMIT = 4


async def begin(
    client: Client, owner: str, entry: str = "1-1", mail: str = "mail", lease_ms: int = LEASE_MS, unsent: int = 0
) -> tuple[str, int, int, str]:
    args: list[str | int] = [owner, LIMIT, lease_ms, 1, mail, entry, unsent]
    ((verdict, attempts, unknowns, state),) = await scripts.run(client, scripts.BEGIN, [LEDGER], args)
    return verdict.decode(), attempts, unknowns, state.decode()


async def phase(client: Client, owner: str, attempt: int, mail: str = "mail") -> int:
    (noted,) = await scripts.run(client, scripts.PHASE, [LEDGER], [owner, "data", 1, mail, attempt])
    return int(noted)


async def row(client: Client, mail: str = "mail") -> Row:
    return parse_row((await client.hget(LEDGER, mail)).decode())


async def put(client: Client, stored: Row) -> None:
    await client.hset(LEDGER, "mail", str(stored))


async def now_ms(client: Client) -> int:
    seconds, micros = await client.time()
    return int(seconds * 1000 + micros // 1000)


async def test_a_new_mail_may_go_and_its_attempt_is_written_down_first(client: Client) -> None:
    before = await now_ms(client)
    assert await begin(client, "me") == ("go", 1, 0, "requested")
    stored = await row(client)
    assert stored == Row(State.SENDING, 1, 0, "me", "begin", stored.at_ms, "1-1")
    assert before <= stored.at_ms <= await now_ms(client)


@pytest.mark.parametrize("state", [State.SENT, State.FAILED, State.SKIPPED, State.HELD])
async def test_a_final_mail_is_done_and_its_row_untouched(client: Client, state: State) -> None:
    await put(client, Row(state, 2, 1, "-", "accepted", 5, "1-1"))
    assert await begin(client, "me") == ("done", 2, 1, state.value)
    assert await row(client) == Row(state, 2, 1, "-", "accepted", 5, "1-1")


@pytest.mark.parametrize("state", [State.REQUESTED, State.DEFERRED, State.UNKNOWN])
async def test_attempts_count_up_to_the_limit_and_then_are_exhausted(client: Client, state: State) -> None:
    await put(client, Row(state, LIMIT - 1, 0))
    assert await begin(client, "me") == ("go", LIMIT, 0, state.value)
    await put(client, Row(state, LIMIT, 0))
    assert await begin(client, "me") == ("exhausted", LIMIT, 0, state.value)
    assert await row(client) == Row(state, LIMIT, 0)


async def test_an_attempt_cut_off_before_data_is_not_counted(client: Client) -> None:
    await begin(client, "dead")
    assert await begin(client, "me") == ("go", 1, 0, "sending")
    assert (await row(client)).owner == "me"


async def test_the_last_attempt_cut_off_before_data_may_be_made_again(client: Client) -> None:
    await put(client, Row(State.SENDING, LIMIT, 0, "dead", "begin", 5, "1-1"))
    assert await begin(client, "me") == ("go", LIMIT, 0, "sending")


async def test_an_attempt_cut_off_after_data_is_unknown_and_its_row_untouched(client: Client) -> None:
    await begin(client, "dead")
    assert await phase(client, "dead", 1) == 1
    before = await row(client)
    assert await begin(client, "me") == ("unknown", 1, 0, "sending")
    assert await row(client) == before


async def test_another_entry_of_a_mail_being_sent_is_busy_until_the_lease_is_over(client: Client) -> None:
    await begin(client, "other", entry="1-1")
    before = await row(client)
    assert await begin(client, "me", entry="2-1") == ("busy", 1, 0, "sending")
    assert await row(client) == before
    await put(client, Row(State.SENDING, 1, 0, "other", "begin", await now_ms(client) - LEASE_MS, "1-1"))
    assert (await begin(client, "me", entry="2-1"))[0] == "go"


async def test_of_many_entries_of_one_mail_exactly_one_may_go(client: Client) -> None:
    replies = await asyncio.gather(*(begin(client, f"worker-{n}", entry=f"{n}-1") for n in range(1, 30)))
    assert sorted(reply[0] for reply in replies) == ["busy"] * 28 + ["go"]


async def test_of_many_claimers_of_one_entry_only_the_last_may_send_its_content(client: Client) -> None:
    workers = [f"worker-{n}" for n in range(20)]
    await asyncio.gather(*(begin(client, name) for name in workers))
    noted = await asyncio.gather(*(phase(client, name, 1) for name in workers))
    assert sum(noted) == 1
    assert workers[noted.index(1)] == (await row(client)).owner


async def test_after_a_takeover_the_former_owner_may_not_send(client: Client) -> None:
    await begin(client, "former")
    await begin(client, "me")
    assert await phase(client, "former", 1) == 0
    assert (await row(client)).phase == "begin"
    assert await phase(client, "me", 1) == 1
    assert (await row(client)).phase == "data"


@pytest.mark.parametrize("attempt", [0, 2])
async def test_another_attempt_of_the_same_owner_may_not_send(client: Client, attempt: int) -> None:
    await begin(client, "me")
    assert await phase(client, "me", attempt) == 0


async def test_a_mail_that_was_never_begun_may_not_be_sent(client: Client) -> None:
    assert await phase(client, "me", 1) == 0
    assert not await client.exists(LEDGER)


async def test_several_mails_of_several_leads_are_answered_in_order(client: Client) -> None:
    second = keys.ledger(0, "lead-2")
    await client.hset(second, "b", str(Row(State.SENT, 1)))
    args: list[str | int] = ["me", LIMIT, LEASE_MS, 1, "a", "1-1", 0, 2, "b", "1-2", 0, 2, "c", "1-3", 0]
    replies = await scripts.run(client, scripts.BEGIN, [LEDGER, second], args)
    assert [reply[0] for reply in replies] == [b"go", b"done", b"go"]
    assert set(await client.hkeys(second)) == {b"b", b"c"}
    noted = await scripts.run(client, scripts.PHASE, [LEDGER, second], ["me", "data", 1, "a", 1, 2, "b", 1, 2, "c", 1])
    assert noted == [1, 0, 1]


async def test_a_full_server_lets_nobody_begin_or_send(client: Client) -> None:
    await begin(client, "me", mail="begun")
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            await begin(client, "me")
        with pytest.raises(ResponseError, match="maxmemory"):
            await phase(client, "me", 1, mail="begun")
    finally:
        await client.config_set("maxmemory", "0")
    assert not await client.hexists(LEDGER, "mail")
    assert (await row(client, "begun")).phase == "begin"


async def test_a_row_that_nobody_can_read_is_begun_afresh_rather_than_wedged(client: Client) -> None:
    await client.hset(LEDGER, "mail", "garbage")
    assert (await begin(client, "me"))[0] == "go"


async def test_an_owner_whose_note_was_lost_begins_the_same_attempt_again(client: Client) -> None:
    await begin(client, "me")
    assert await phase(client, "me", 1) == 1  # the answer did not reach the worker, so it sent nothing
    assert (await begin(client, "me", unsent=1))[:3] == ("go", 1, 0)


@pytest.mark.parametrize(("owner", "unsent"), [("me", 0), ("me", 2), ("other", 1)])
async def test_nobody_else_and_no_other_attempt_begins_after_the_content_may_have_gone_out(
    client: Client, owner: str, unsent: int
) -> None:
    await begin(client, "me")
    await phase(client, "me", 1)
    assert (await begin(client, owner, unsent=unsent))[0] == "unknown"
