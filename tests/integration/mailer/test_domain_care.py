"""Care for recipient domains, by the whole path and a real SMTP server: who waits, who does not, and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from leadstream_events import keys, slowing
from leadstream_events.domains import parse_counts, parse_groups
from leadstream_events.ledger import Row, State
from leadstream_events.limits import parse_domain_rates, parse_rate
from leadstream_events.settings import Settings
from tests.cases.pipeline import Pipeline, pipeline
from tests.support.smtp_server import Moment, Reply, Script
from tests.support.waiting import eventually

RATE = Reply(421, "4.7.28 unusual rate of mail from your address, try again later")


async def leads_of(house: Pipeline, addresses: Iterable[str]) -> list[str]:
    """Leads whose welcome mails go to these addresses."""
    gate = asyncio.Semaphore(16)

    async def post(address: str) -> str:
        async with gate:
            return await house.lead(email=address)

    return list(await asyncio.gather(*(post(address) for address in addresses)))


def by_domain(house: Pipeline) -> Counter[str]:
    """How many mails arrived for each domain."""
    return Counter(mail.recipients[0].partition("@")[2] for mail in house.smtp.mails)


async def more_than(house: Pipeline, name: str, count: int) -> bool:
    """True when a sorted set has more members than that."""
    return bool(await house.client.zcard(name) > count)


async def the_row(house: Pipeline, lead: str) -> Row | None:
    """The ledger row of the one mail of a lead."""
    return next(iter((await house.rows(lead)).values()), None)


async def test_two_hundred_mails_that_wait_for_their_domain_hold_nobody_up(settings: Settings) -> None:
    settings = settings.model_copy(
        update={"rate_limit": None, "rate_limit_domains": parse_domain_rates("slow.example=1/min")}
    )
    async with pipeline(settings) as house:
        await leads_of(house, (f"v{number}@slow.example" for number in range(200)))
        await house.smtp.wait_for(1, 60)
        await leads_of(house, (f"v{number}@quick.example" for number in range(10)))
        await house.smtp.wait_until(lambda: by_domain(house)["quick.example"] == 10, 60)
        # Two at the most: the machine may be so busy that a minute has passed.
        assert by_domain(house)["slow.example"] <= 2


async def test_a_domain_with_a_short_wait_holds_nobody_up_either(settings: Settings) -> None:
    """A wait of a tenth of a second for each of a hundred mails is ten seconds for whoever stands behind them."""
    settings = settings.model_copy(
        update={"rate_limit": None, "rate_limit_domains": parse_domain_rates("slow.example=1/s")}
    )
    async with pipeline(settings) as house:
        await leads_of(house, (f"v{number}@slow.example" for number in range(100)))
        await house.smtp.wait_for(1, 60)
        await leads_of(house, (f"v{number}@quick.example" for number in range(10)))
        await house.smtp.wait_until(lambda: by_domain(house)["quick.example"] == 10, 60)
        assert by_domain(house)["slow.example"] < 60


async def test_a_domain_that_names_the_rate_gets_fewer_and_the_others_as_many(settings: Settings) -> None:
    asked: Counter[str] = Counter()

    def decide(moment: Moment) -> Reply | None:
        if moment.phase != "rcpt":
            return None
        of_google = b"@gmail.com" in moment.argument or b"@googlemail.com" in moment.argument
        asked["google" if of_google else "other"] += 1
        return RATE if of_google else None

    settings = settings.model_copy(
        update={
            "rate_limit": None,
            "smtp_connections": 2,
            "retry_delays": (3600.0,),
            "mx_groups": parse_groups("google=gmail.com|googlemail.com"),
        }
    )
    async with pipeline(settings, Script(decide=decide)) as house:
        (first,) = await leads_of(house, ["v0@gmail.com"])

        async def slowed() -> bool:
            return "google" in (await slowing.read(house.client))[0]

        await eventually(slowed, "the group to be slowed down", 60.0)

        async def deferred() -> bool:
            row = await the_row(house, first)
            return row is not None and row.state is State.DEFERRED

        await eventually(deferred, "the mail to be put off", 60.0)
        row = await the_row(house, first)
        assert row is not None and row.attempts == 1
        await leads_of(house, (f"v{number}@googlemail.com" for number in range(30)))
        await leads_of(house, (f"v{number}@quick.example" for number in range(10)))
        await house.smtp.wait_until(lambda: by_domain(house)["quick.example"] == 10, 60)
        # 30 a minute at first and halved after it: far from all 31 were tried, and who was not used no attempt.
        # An inbox that has the quick ones says nothing of when the others are put back.
        assert asked["google"] < 20
        due = keys.due(0, keys.MAILER)
        await eventually(lambda: more_than(house, due, 10), "the mails that wait to be put back", 60.0)
        assert asked["google"] < 20


async def test_no_more_mails_at_a_time_go_to_a_domain_than_is_set_from_all_mailers(settings: Settings) -> None:
    open_now: set[int] = set()
    most = 0

    def decide(moment: Moment) -> Reply | None:
        nonlocal most
        if moment.phase == "rcpt" and b"@slow.example" in moment.argument:
            open_now.add(moment.connection)
            most = max(most, len(open_now))
        if moment.phase == "body":
            open_now.discard(moment.connection)
        return Reply(354, "go ahead", delay_s=0.03) if moment.phase == "data" else None

    settings = settings.model_copy(
        update={"rate_limit": parse_rate("off"), "concurrency_domains": parse_counts("slow.example=2,*=50")}
    )

    async with pipeline(settings, Script(decide=decide), mailers=3) as house:
        await leads_of(house, (f"v{number}@slow.example" for number in range(40)))
        await leads_of(house, (f"v{number}@quick.example" for number in range(10)))
        await house.smtp.wait_for(50, 60)
        await house.settled(60)
        assert 1 <= most <= 2

        async def returned() -> bool:
            return bool(await house.client.zcard(keys.PLACES + "slow.example") == 0)

        await eventually(returned, "every place to be returned", 60.0)


async def test_a_warm_up_lets_no_more_out_than_the_limit_of_the_day(settings: Settings) -> None:
    today = datetime.now(UTC).date()
    settings = settings.model_copy(
        update={"rate_limit": None, "warm_up_start": today - timedelta(days=1), "warm_up": (3, 5, 5)}
    )
    async with pipeline(settings, mailers=2) as house:
        await leads_of(house, (f"v{number}@quick.example" for number in range(12)))
        await house.smtp.wait_for(5, 60)

        async def all_read() -> bool:
            groups = {each["name"]: each for each in await house.client.xinfo_groups(keys.stream(0, keys.EMAILS))}
            return bool(groups[keys.MAILER.encode()]["pending"] == 7)

        await eventually(all_read, "the other seven to be read, and to wait", 60.0)
        assert await house.client.zcard(keys.WARM_UP) == 5
        assert house.smtp.count == 5


async def test_a_domains_limit_is_used_by_the_mails_that_were_put_back_for_it(settings: Settings) -> None:
    settings = settings.model_copy(
        update={"rate_limit": None, "rate_limit_domains": parse_domain_rates("slow.example=20/s")}
    )
    async with pipeline(settings, mailers=2) as house:
        began_s = time.monotonic()
        await leads_of(house, (f"v{number}@slow.example" for number in range(120)))
        await house.smtp.wait_for(120, 60)
        took_s = max(mail.monotonic_s for mail in house.smtp.mails) - began_s
        # Five whole windows; on a busy machine a few more, and far less than if each token were taken by chance.
        assert 5.0 <= took_s < 20
