"""`claim` and `seek`: what operators do to a group's position and to what its dead consumers left."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import rich_click as click

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.commands.streams import DEAD_AFTER_S, require_group
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.group_moves import (
    WHY_SAFE,
    Move,
    Orphan,
    find_orphans,
    plan_moves,
    position,
    refuse_projections,
)
from leadstream_cli.output import Column, Output, age, output_options
from leadstream_cli.queries import Stream, read_streams
from leadstream_events.errors import Conflict, NotFound
from leadstream_events.server_time import server_ms

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

_ORPHAN_COLUMNS = (
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("owner", "OWNER"),
    Column("entries", "ENTRIES", right=True),
    Column("first", "OLDEST"),
    Column("idle_s", "IDLE", age, right=True),
    Column("deliveries", "DELIVERIES", right=True),
)


@click.command()
@click.argument("group")
@click.option("--idle", help="Only what is idle for that long.  [default: LEADSTREAM_LEASE]")
@consent_options()
@output_options
def claim(group: str, idle: str | None, consent: Consent, out: Output) -> None:
    """Take entries that nobody works on any more over, so that a living worker of GROUP gets them at once.

    Workers do the same by themselves, a lease after a worker died; this is for when that is too long, and for parked
    entries that are in no queue. Nothing is delivered twice by it: what a worker renews meanwhile stays with it.
    """
    asyncio.run(_claim(group, idle, consent, out))


async def _claim(group: str, idle: str | None, consent: Consent, out: Output) -> None:
    from leadstream_events.setting_values import parse_duration
    from leadstream_events.settings import load_settings

    try:
        idle_s = parse_duration(idle) if idle else load_settings().lease
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--idle") from None
    async with redis_client() as client:
        orphans = await find_orphans(client, await _streams_with(client, group), group, idle_s)
        rows = _orphan_rows(orphans)
        if not orphans or consent.dry_run or not out.as_json:
            out.table(rows, _ORPHAN_COLUMNS, f"nothing to claim: no entry of {group} is idle for {age(idle_s)}")
        if not orphans or not consent.given(f"have {len(orphans)} entries of {group} delivered again now?"):
            return
        taken = await _take(client, group, orphans, int(idle_s * 1000), consent)
    if out.as_json:
        out.record({"group": group, "found": len(orphans), "claimed": len(taken), "entries": taken})
    else:
        say(f"{len(taken)} claimed")
    if len(taken) < len(orphans):
        say(f"{len(orphans) - len(taken)} were taken up or finished by a worker meanwhile")


def _orphan_rows(orphans: list[Orphan]) -> list[dict[str, Any]]:
    def kin(orphan: Orphan) -> tuple[str, int, str]:
        return orphan.stream, orphan.partition, orphan.owner

    rows = []
    for (stream, partition, owner), some in groupby(sorted(orphans, key=kin), key=kin):
        found = list(some)
        rows.append(
            {"stream": stream, "partition": partition, "owner": owner, "entries": len(found), "first": found[0].entry}
            | {"idle_s": max(item.idle_s for item in found), "deliveries": max(item.deliveries for item in found)}
        )
    return rows


async def _take(client: Client, group: str, orphans: list[Orphan], idle_ms: int, consent: Consent) -> list[str]:
    from leadstream_events.operations import CLAIM_STEP
    from leadstream_events.operations import claim as claim_step
    from leadstream_events.subscribers import utc_now

    taken: list[str] = []
    for (stream, partition), some in groupby(orphans, key=lambda orphan: (orphan.stream, orphan.partition)):
        found = list(some)
        for at in range(0, len(found), CLAIM_STEP):
            step = found[at : at + CLAIM_STEP]
            taken += await claim_step(
                client,
                partition,
                stream,
                group,
                [orphan.entry for orphan in step],
                owners=sorted({orphan.owner for orphan in step})[:20],
                idle_ms=idle_ms,
                actor=consent.actor,
                now=utc_now(),
            )
    return taken


async def _streams_with(client: Client, group: str) -> list[Stream]:
    found = await read_streams(client, await stored_partitions(client))
    await require_group(found, group)
    return found


_MOVE_COLUMNS = (
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("before", "FROM"),
    Column("after", "TO"),
    Column("again", "AGAIN", right=True),
    Column("passed_over", "PASSED OVER", right=True),
    Column("alive", "ALIVE"),
)


@click.command()
@click.argument("group")
@click.option("--to", required=True, metavar="TIME|ID|beginning", help="The first entry to be delivered next.")
@click.option("--stream", "only_stream", help="Only on this stream.  [default: every stream of the group]")
@click.option("--partition", "only_partition", type=click.IntRange(min=0), help="Only in this partition.")
@click.option("--force", is_flag=True, help="Also while consumers are alive.")
@click.option("--dead-after", default=DEAD_AFTER_S, show_default=True, help="Seconds without a sign of life.")
@consent_options()
@output_options
def seek(
    group: str,
    to: str,
    only_stream: str | None,
    only_partition: int | None,
    force: bool,
    dead_after: float,
    consent: Consent,
    out: Output,
) -> None:
    """Set GROUP to another position: back, to have entries delivered again, or forward, past entries.

    TIME is a span (10m ago) or RFC 3339. Going back sends nothing twice and requests nothing twice: fan-out, mailer
    and quota keep a ledger. Projections would count twice and are refused. Going forward means that what is passed
    over is never done. What is pending stays pending.
    """
    refuse_projections(group)
    asyncio.run(_seek(group, to, (only_stream, only_partition), None if force else dead_after, consent, out))


async def _seek(
    group: str, to: str, only: tuple[str | None, int | None], dead_after_s: float | None, consent: Consent, out: Output
) -> None:
    async with redis_client() as client:
        try:
            after = position(to, await server_ms(client))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--to") from None
        moves = await plan_moves(client, await _streams_with(client, group), group, after, dead_after_s or DEAD_AFTER_S)
        moves = [m for m in moves if only[0] in (None, m.stream) and only[1] in (None, m.partition)]
        if not moves:
            raise NotFound(f"group {group} reads no such stream yet")
        _explain(moves, group, consent.dry_run or not out.as_json, out)
        alive = sorted({name for move in moves for name in move.alive})
        if alive and dead_after_s is not None:
            raise Conflict(f"{', '.join(alive)} would go on from where it is: stop it first, or use --force")
        if not consent.given(f"move {group}?"):
            return
        rows = [await _carry_out(client, move, dead_after_s, consent) for move in moves]
    if out.as_json:
        out.table(rows, _MOVE_COLUMNS, "")
    for row in rows:
        say(f"{group} on {row['stream']}, partition {row['partition']}: {row['before']} -> {row['now']} (read back)")


def _explain(moves: list[Move], group: str, table: bool, out: Output) -> None:
    if table:
        out.table([asdict(move) for move in moves], _MOVE_COLUMNS, "")
    if any(move.again for move in moves):
        why = WHY_SAFE.get(group)
        say(f"AGAIN entries are delivered again: {why}" if why else "AGAIN entries are delivered again")
    if any(move.passed_over for move in moves):
        say(f"PASSED OVER entries will never be delivered to {group}: what they ask for is not done")
    if not all(move.exact for move in moves):
        say("counts are lower bounds")


async def _carry_out(client: Client, move: Move, dead_after_s: float | None, consent: Consent) -> dict[str, Any]:
    from leadstream_events.operations import seek as seek_step
    from leadstream_events.subscribers import utc_now

    now_at = await seek_step(
        client,
        move.partition,
        move.stream,
        move.group,
        before=move.before,
        after=move.after,
        dead_after_s=dead_after_s,
        actor=consent.actor,
        now=utc_now(),
    )
    return asdict(move) | {"now": now_at}
