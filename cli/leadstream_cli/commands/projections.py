"""`projections`: runs the service when called bare; shows how far the projections are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.commands.services import serve_until_stopped
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import CHECK_FAILED, say
from leadstream_cli.output import Column, Output, age, output_options
from leadstream_cli.queries import Group, read_streams
from leadstream_cli.rate_bar import Bar

if TYPE_CHECKING:
    from leadstream_events.settings import Settings
    from leadstream_projections.counters import Projection
    from leadstream_projections.rebuild import Rebuilt
    from leadstream_projections.rebuild_compare import Compared
    from leadstream_projections.rebuild_state import Generations
    from leadstream_projections.verify import Drift

_COLUMNS = (
    Column("projection", "PROJECTION"),
    Column("generation", "GENERATION", right=True),
    Column("lag_text", "LAG", right=True),
    Column("lag_age_s", "LAG AGE", age, right=True),
    Column("pending", "PENDING", right=True),
    Column("consumers", "WORKERS", right=True),
    Column("note", "NOTE"),
)
# Drifts of one projection that a rebuild names.
_DRIFTS_SAID = 10
_DRIFT_COLUMNS = (
    Column("projection", "PROJECTION"),
    Column("partition", "PART", right=True),
    Column("part", "OF"),
    Column("counter", "COUNTER"),
    Column("counted", "SAYS", right=True),
    Column("expected", "LOG SAYS", right=True),
)
_REBUILT_COLUMNS = (
    Column("projection", "PROJECTION"),
    Column("partition", "PART", right=True),
    Column("generation", "GENERATION", right=True),
    Column("version", "VERSION", right=True),
    Column("counted", "ENTRIES", right=True),
)


@click.group(invoke_without_command=True)
@click.pass_context
def projections(context: click.Context) -> None:
    """Run the projections: exact counters from events. With a command, look after them."""
    if context.invoked_subcommand is not None:
        return

    async def make(settings: Settings) -> None:
        import logging

        from leadstream_projections.service import run

        # Faust tells of every part that starts and stops; ours is the one line that says `ready`.
        logging.getLogger("faust").setLevel(logging.WARNING)
        logging.getLogger("mode").setLevel(logging.WARNING)
        await run(settings)

    serve_until_stopped("projections", make)


@projections.command()
@output_options
def status(out: Output) -> None:
    """Show how far each projection is behind, over all its streams, and which generation of it is live."""
    out.table(asyncio.run(_status()), _COLUMNS, "no projections")


async def _status() -> list[dict[str, Any]]:
    from leadstream_projections.counters import PROJECTIONS
    from leadstream_projections.rebuild_state import read_generations

    async with redis_client() as client:
        partitions = await stored_partitions(client)
        streams = await read_streams(client, partitions)
        rows = []
        for projection in PROJECTIONS:
            found = [await read_generations(client, projection, number) for number in range(partitions)]
            mine = [each for stream in streams for each in stream.groups if each.group == projection.group]
            rows.append(_row(projection, found, mine))
    return rows


def _row(projection: Projection, found: list[Generations], mine: list[Group]) -> dict[str, Any]:
    lag = sum(each.lag for each in mine)
    exact = all(each.lag_exact for each in mine)
    live = sorted({each.live for each in found})
    versions = sorted({each.version for each in found})
    changed = bool(mine) and any(each.needs_rebuild(projection) for each in found)
    rebuilding = any(each.filling for each in found)
    return {
        "projection": projection.name,
        "generation": live[0] if len(live) == 1 else live,
        "version": versions[0] if len(versions) == 1 else versions,
        "code_version": projection.version,
        "needs_rebuild": changed,
        "doubtful": any(each.doubtful for each in found),
        "rebuild_begun": rebuilding,
        "started": bool(mine),
        "lag": lag,
        "lag_exact": exact,
        "lag_text": f"{lag}{'' if exact else '+'}" if mine else "never started",
        "lag_age_s": max((each.lag_age_s for each in mine if each.lag_age_s is not None), default=None),
        "pending": sum(each.pending for each in mine),
        "consumers": max((each.consumers for each in mine), default=0),
        "note": _note(projection, found, changed, rebuilding),
    }


def _note(projection: Projection, found: list[Generations], changed: bool, rebuilding: bool) -> str:
    command = f"leadstream projections rebuild {projection.name}"
    if rebuilding:
        return f"a rebuild is under way, or was interrupted: `{command}` goes on with it"
    if any(each.doubtful for each in found):
        return f"its group was destroyed while it worked, so some entries may count twice: `{command}`"
    return f"counts by another definition now: `{command}`" if changed else ""


def chosen(names: Sequence[str], everything: bool) -> list[Projection]:
    """The projections that are named; raises a usage error when that is none, or one does not exist."""
    from leadstream_projections.counters import PROJECTIONS

    known = {projection.name: projection for projection in PROJECTIONS}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise click.UsageError(f"no projection {unknown[0]!r}; there is {', '.join(known)}")
    if everything == bool(names):
        raise click.UsageError("name projections, or say --all")
    return [known[name] for name in names] or list(known.values())


@projections.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every projection, in one pass over the streams.")
@click.option("--discard", is_flag=True, help="Give up a rebuild that was interrupted, instead of going on with it.")
@click.option(
    "--from-what-is-left", "incomplete", is_flag=True, help="Also when entries were trimmed: they are forgotten."
)
@click.option(
    "--check-only", is_flag=True, help="Only say where the new counters differ (exit code 3), then drop them."
)
@output_options
def rebuild(
    names: tuple[str, ...], everything: bool, discard: bool, incomplete: bool, check_only: bool, out: Output
) -> None:
    """Count NAME anew from archive and streams, beside the live counters, and put the new counters in their place.

    Services and readers go on meanwhile, and no counter goes back. Interrupted, the same command goes on where it was.
    Where the new counters differ from the live ones is said; they take their place all the same.
    """
    which = chosen(names, everything)
    if discard:
        say(f"{asyncio.run(_discard(which))} given up")
        return
    import gc

    from uvloop import new_event_loop

    # Pages make and drop many small objects, hardly any of them in cycles: looking for those took a tenth of the time.
    gc.set_threshold(100_000, 20, 20)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        rows, compared = runner.run(_rebuild(which, incomplete, check_only))
    if check_only:
        out.table([asdict(drift) for each in compared for drift in each.drifts], _DRIFT_COLUMNS, "no drift")
        if any(each.differing for each in compared):
            raise Exit(CHECK_FAILED)
        return
    out.table([asdict(row) for row in rows], _REBUILT_COLUMNS, "nothing to rebuild")


async def _discard(which: Sequence[Projection]) -> int:
    from leadstream_projections.rebuild_cleanup import delete_retired
    from leadstream_projections.rebuild_state import discard_filling, read_generations

    given_up = 0
    async with redis_client() as client:
        for number in range(await stored_partitions(client)):
            for projection in which:
                filling = (await read_generations(client, projection, number)).filling
                if filling:
                    await discard_filling(client, projection, number, filling.generation)
                    given_up += 1
                await delete_retired(client, projection.name, number)
    return given_up


async def _rebuild(
    which: Sequence[Projection], incomplete: bool, check_only: bool
) -> tuple[list[Rebuilt], list[Compared]]:
    from leadstream_archive.history import History
    from leadstream_archive.opening import open_archive
    from leadstream_events.settings import load_settings
    from leadstream_projections.rebuild import rebuild as count_anew

    bar = Bar("counting")
    compared: list[Compared] = []
    async with redis_client() as client:
        partitions = await stored_partitions(client)
        with bar:
            rows = await count_anew(
                client,
                which,
                partitions,
                history=History(client, open_archive(load_settings())),
                incomplete=incomplete,
                check_only=check_only,
                compared=compared.append,
                begun=bar.begin,
                told=bar.step,
            )
    say(f"{bar.count} counted in {bar.seconds:.1f} s ({bar.rate:.0f}/s)")
    for each in compared:
        _say_compared(each, check_only)
    return rows, compared


def _say_compared(found: Compared, check_only: bool) -> None:
    what = f"{found.projection}, partition {found.partition}"
    if found.why_not:
        say(f"{what}: not compared: {found.why_not}")
        return
    end = (
        ""
        if not found.differing
        else "; nothing was changed"
        if check_only
        else "; the new ones are in force all the same"
    )
    say(f"{what}: {found.counters} counters compared with the live ones, {found.differing} differed{end}")
    for drift in found.drifts[:_DRIFTS_SAID] if not check_only else ():
        of = f"{drift.part} " if drift.part else ""
        say(f"  {of}{drift.counter}: said {drift.counted}, now {drift.expected}")
    if found.differing > _DRIFTS_SAID and not check_only:
        say(f"  and {found.differing - _DRIFTS_SAID} more")


@projections.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@output_options
def verify(names: tuple[str, ...], out: Output) -> None:
    """Count the log a second time, by other code, and print every counter that differs; exit code 3 if any does.

    Compares also what subscribers used up of their purchased leads with the outcomes. Services may run on.
    """
    from leadstream_projections.counters import PROJECTIONS

    which = chosen(names, everything=False) if names else list(PROJECTIONS)
    drifts = asyncio.run(_verify(which, with_quota=not names))
    out.table([asdict(drift) for drift in drifts], _DRIFT_COLUMNS, "no drift")
    if drifts:
        say("`leadstream projections rebuild` counts projections anew")
        raise Exit(CHECK_FAILED)


async def _verify(which: Sequence[Projection], *, with_quota: bool) -> list[Drift]:
    from leadstream_archive.history import History
    from leadstream_archive.opening import open_archive
    from leadstream_events.settings import load_settings
    from leadstream_events.subscribers import utc_now
    from leadstream_projections.verify import verify as count_again
    from leadstream_projections.verify_quota import verify_quota

    drifts: list[Drift] = []
    async with redis_client() as client:
        partitions = await stored_partitions(client)
        past = History(client, open_archive(load_settings()))
        for projection in which:
            found = [await count_again(client, projection, number, utc_now(), past) for number in range(partitions)]
            drifts += (drift for each in found for drift in each.drifts)
            busy = sum(each.in_flight for each in found)
            left = f"; {busy} leads left out: something is going on with them" if busy else ""
            say(f"{projection.name}: {sum(each.counters for each in found)} counters compared{left}")
        if with_quota:
            quota = await verify_quota(client, partitions, past)
            drifts += quota.drifts if quota else ()
            say(f"quota: {quota.counters} subscribers compared" if quota else "quota: too busy to be compared just now")
    return drifts
