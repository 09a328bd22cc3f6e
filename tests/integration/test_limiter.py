"""The limiter: all workers together keep every limit, and tokens that were not used come back."""

from __future__ import annotations

import asyncio
import time

from leadstream_events.limits import DomainRates, Rate
from leadstream_events.redis_client import Client
from leadstream_mailer.bounds import Care
from leadstream_mailer.limiter import FREE, Limiter, Token, Wait

NONE = DomainRates()


async def test_without_a_limit_everybody_is_free_and_nobody_is_asked(raw: Client) -> None:
    assert await Limiter(raw, Care(None, NONE)).take(["a@example.com"] * 3, 0.0) == [FREE] * 3
    assert await raw.keys("*") == []


async def test_all_workers_together_get_the_count(raw: Client) -> None:
    workers = [Limiter(raw, Care(Rate(50, 60_000), NONE)) for _ in range(5)]
    answers = await asyncio.gather(*(worker.take(["a@example.com"] * 20, 7.0) for worker in workers))
    tokens = [item for answer in answers for item in answer if isinstance(item, Token)]
    waits = [item for answer in answers for item in answer if isinstance(item, Wait)]
    assert (len(tokens), len(waits)) == (50, 50)
    assert len({token.name for token in tokens}) == 50
    assert {token.expires_s for token in tokens} == {8.0}
    assert all(50 < wait.seconds <= 61 and not wait.of_domain for wait in waits)


async def test_a_domains_limit_stands_in_the_way_of_that_domain_alone(raw: Client) -> None:
    limiter = Limiter(raw, Care(Rate(10, 60_000), DomainRates({"example.org": Rate(1, 1_000)})))
    addresses = ["a@example.org", "b@Example.ORG", "c@example.com"]
    first, second, third = await limiter.take(addresses, 0.0)
    assert isinstance(first, Token)
    assert isinstance(second, Wait)
    assert second.of_domain
    assert isinstance(third, Token)
    assert first.expires_s == 0.05  # the shorter grace of its two limits
    assert third.expires_s == 1.0


async def test_a_limit_for_one_domain_leaves_the_others_free(raw: Client) -> None:
    limiter = Limiter(raw, Care(None, DomainRates({"example.org": Rate(1, 60_000)})))
    answers = await limiter.take(["a@example.org", "b@example.com"], 0.0)
    assert isinstance(answers[0], Token)
    assert answers[1] == Token(answers[1].name, (), float("inf"))  # type: ignore[union-attr]


async def test_what_is_given_back_can_be_taken_again_under_every_limit(raw: Client) -> None:
    limiter = Limiter(raw, Care(Rate(2, 60_000), DomainRates({"example.org": Rate(2, 60_000)})))
    tokens = [item for item in await limiter.take(["a@example.org"] * 2, 0.0) if isinstance(item, Token)]
    assert isinstance((await limiter.take(["a@example.org"], 0.0))[0], Wait)
    await limiter.give_back([*tokens, FREE])
    await limiter.give_back(tokens)
    again = await limiter.take(["a@example.org"] * 3, 0.0)
    assert [type(item) for item in again] == [Token, Token, Wait]


async def test_asking_again_after_the_wait_gets_the_token(raw: Client) -> None:
    limiter = Limiter(raw, Care(Rate(2, 1_000), NONE))
    _, _, wait = await limiter.take(["a@example.com"] * 3, 0.0)
    assert isinstance(wait, Wait)
    assert wait.seconds <= 1.05
    until = time.monotonic() + wait.seconds
    await asyncio.sleep(wait.seconds)  # the wait itself is what is tested
    assert time.monotonic() >= until
    assert isinstance((await limiter.take(["a@example.com"], 0.0))[0], Token)


async def test_nobody_asking_gets_no_answer(raw: Client) -> None:
    assert await Limiter(raw, Care(Rate(1, 1_000), NONE)).take([], 0.0) == []
