"""What a mailer keeps on disk of settlements that Redis has not taken."""

from __future__ import annotations

from pathlib import Path

from leadstream_events.effects import Fence, Settlement
from leadstream_mailer.unsettled import Unsettled, settle_left_behind

FENCE = Fence("{p0}:ledger:lead", "mail", "sending 1 0 me ")


def settlement(entry_id: str, prefix: str = FENCE.prefix) -> Settlement:
    return Settlement("{p0}:emails", entry_id, fence=Fence(FENCE.key, FENCE.field, prefix))


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def left_in(folder: Path) -> list[Settlement]:
    """What the next mailer finds."""
    found: list[Settlement] = []

    async def settle(_: int, item: Settlement) -> None:
        found.append(item)

    await settle_left_behind(folder, settle)
    return found


async def test_only_what_was_not_carried_out_is_left(tmp_path: Path) -> None:
    done, open_one = settlement("1-0"), settlement("2-0")
    async with Unsettled(tmp_path, "me") as unsettled:
        for item in (done, open_one):
            unsettled.begin(0, item)
        unsettled.stuck([done, open_one])
        unsettled.done(done)
    assert await left_in(tmp_path) == [open_one]


async def test_nothing_stays_on_disk_when_all_was_carried_out(tmp_path: Path) -> None:
    async with Unsettled(tmp_path, "me") as unsettled:
        unsettled.begin(0, settlement("1-0"))
        unsettled.stuck([settlement("1-0")])
        unsettled.done(settlement("1-0"))
    assert files(tmp_path) == []


async def test_a_later_attempt_is_not_forgotten_with_the_one_before(tmp_path: Path) -> None:
    first, second = settlement("1-0"), settlement("1-0", "sending 2 0 me ")
    async with Unsettled(tmp_path, "me") as unsettled:
        unsettled.begin(0, first)
        unsettled.stuck([first])
        unsettled.done(first)
        unsettled.begin(0, second)
        unsettled.stuck([second])
    assert await left_in(tmp_path) == [second]
