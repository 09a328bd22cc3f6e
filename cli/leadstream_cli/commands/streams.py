"""`streams`, `groups`, `consumers`: how the pipeline stands."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import rich_click as click

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.archiving import find_archive_url, keeps_everything
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, age, output_options, stamp
from leadstream_cli.parts import GROUPS
from leadstream_cli.queries import Group, Stream, in_group, ms_of, read_consumers, read_streams
from leadstream_events.errors import NotFound
from leadstream_events.keys import ARCHIVER

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
DEAD_AFTER_S = 120.0
# They exist once their service has started; asking for them before is no mistake.
KNOWN = (*(group for groups in GROUPS.values() for group, _ in groups), ARCHIVER)


def size(value: int | None) -> str:
    """Bytes as people read them."""
    if value is None:
        return "-"
    for unit, name in _UNITS:
        if value >= unit:
            return f"{value / unit:.1f} {name}"
    return f"{value} B"


def time_of(entry_id: str | None) -> str:
    """When an entry was stored, to the second."""
    text = stamp(ms_of(entry_id)) if entry_id else None
    return text[:19] + "Z" if text else "-"


_STREAM_COLUMNS = (
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("length", "ENTRIES", right=True),
    Column("bytes", "MEMORY", size, right=True),
    Column("first_id", "OLDEST", time_of),
    Column("last_id", "NEWEST", time_of),
    Column("groups", "GROUPS"),
)


async def _streams(with_groups: bool) -> list[Stream]:
    async with redis_client() as client:
        return await read_streams(client, await stored_partitions(client), with_groups=with_groups)


@click.command()
@output_options
def streams(out: Output) -> None:
    """Show every stream: entries, memory, times, groups."""
    rows = [asdict(item) | {"groups": [group.group for group in item.groups]} for item in asyncio.run(_streams(True))]
    out.table(rows, _STREAM_COLUMNS, "no streams yet: nothing was ever written to this Redis")


def _lag(group: Group) -> str:
    return f"{group.lag}{'' if group.lag_exact else '+'}"


_GROUP_COLUMNS = (
    Column("group", "GROUP"),
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("lag_text", "LAG", right=True),
    Column("lag_age_s", "LAG AGE", age, right=True),
    Column("pending", "PENDING", right=True),
    Column("parked", "PARKED", right=True),
    Column("oldest_pending_s", "OLDEST PENDING", age, right=True),
    Column("consumers", "CONSUMERS", right=True),
    Column("server_lag", "LAG BY SERVER", lambda value: "unknown" if value is None else str(value), right=True),
    Column("note", "NOTE"),
)


def _group_row(group: Group, as_json: bool) -> dict[str, object]:
    row: dict[str, object] = asdict(group) | {"note": FORGOTTEN.format(group.group) if is_forgotten(group) else ""}
    if group.group == ARCHIVER and keeps_everything():
        row |= {"lag": None, "lag_age_s": None, "note": NOTHING_DUE}
        return row if as_json else row | {"lag_text": "-"}
    return row if as_json else row | {"lag_text": _lag(group)}


NOTHING_DUE = "RETAIN is off: nothing is due to be archived"
FORGOTTEN = "no service of ours: nothing that it has not read can be trimmed (`leadstream groups remove {}`)"


def is_forgotten(group: Group) -> bool:
    """True for a group that no service of ours works for: it holds back trimming for as long as it is there."""
    return group.partition is not None and group.group not in KNOWN and bool(group.lag or group.pending)


@click.group(invoke_without_command=True)
@click.pass_context
@output_options
def groups(context: click.Context, out: Output) -> None:
    """Show every consumer group: lag as count and age, pending, parked. With a command, look after them.

    LAG counts entries that were never delivered to the group. LAG BY SERVER is what Redis itself reports: it is
    unknown or wrong after deletes and trims.
    """
    if context.invoked_subcommand is not None:
        return
    found = [group for stream in asyncio.run(_streams(True)) for group in stream.groups]
    rows = [_group_row(group, out.as_json) for group in found]
    out.table(rows, _GROUP_COLUMNS, "no groups yet: they appear when a service first starts")


@groups.command()
@click.argument("name")
@click.option("--dead-after", default=DEAD_AFTER_S, show_default=True, help="Seconds without a sign of life.")
@consent_options()
def remove(name: str, dead_after: float, consent: Consent) -> None:
    """Remove the group NAME, which nobody serves, from every stream: what it has not read no longer has to be kept.

    Groups of leadstream's own services are refused, and so is one with a living consumer.
    """
    if name in KNOWN and not (name == ARCHIVER and find_archive_url() is None):
        raise click.UsageError(f"{name} is a group of leadstream itself: its service needs it")
    asyncio.run(_remove(name, dead_after, consent))


async def _remove(name: str, dead_after_s: float, consent: Consent) -> None:
    from leadstream_events.operations import remove_group
    from leadstream_events.subscribers import utc_now

    async with redis_client() as client:
        found = await read_streams(client, await stored_partitions(client))
        mine = [
            (s.stream, s.partition, g) for s in found for g in s.groups if g.group == name and s.partition is not None
        ]
        if not mine:
            raise NotFound(f"no group {name!r} on any stream")
        for stream, partition, group in mine:
            say(f"{name} on {stream}, partition {partition}: lag {_lag(group)}, {group.pending} pending")
        if not consent.given(f"remove {name}? What it has not read, it will never read"):
            return
        for stream, partition, _ in mine:
            await remove_group(
                client, partition, stream, name, dead_after_s=dead_after_s, actor=consent.actor, now=utc_now()
            )  # fmt: skip
        say(f"{name} removed from {len(mine)} stream{'' if len(mine) == 1 else 's'}")


_CONSUMER_COLUMNS = (
    Column("group", "GROUP"),
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("consumer", "CONSUMER"),
    Column("state", "STATE"),
    Column("pending", "PENDING", right=True),
    Column("idle_s", "IDLE", age, right=True),
)


@click.command()
@click.argument("group")
@click.option("--dead-after", default=DEAD_AFTER_S, show_default=True, help="Seconds without a sign of life.")
@output_options
def consumers(group: str, dead_after: float, out: Output) -> None:
    """Show the consumers of GROUP: what each one holds, and whether it lives.

    `parked` entries belong to nobody: they wait for their next attempt.
    """

    async def read() -> list[dict[str, object]]:
        async with redis_client() as client:
            partitions = await stored_partitions(client)
            found = await read_consumers(client, partitions, group, dead_after)
            if not found:
                await require_group(await read_streams(client, partitions), group)
            return [asdict(item) for item in found]

    out.table(asyncio.run(read()), _CONSUMER_COLUMNS, f"group {group} has no consumers: its service is not running")


async def require_group(found: list[Stream], wanted: str) -> None:
    """Raises `NotFound`, naming the groups there are, unless there is or may be one that `wanted` means."""
    names = sorted({group.group for stream in found for group in stream.groups})
    if not any(in_group(name, wanted) for name in (*names, *KNOWN)):
        raise NotFound(f"no group {wanted!r}; there is {', '.join(names) or 'none yet'}")
