"""The checks of `doctor`: pure verdicts over what was read, each with its mend."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from leadstream_events.memory_budget import Lasting, Load, estimate

_MIN_HEADROOM = 0.2
_CLOCK_WARN_S, _CLOCK_WRONG_S = 1.0, 5.0
_OLDEST = (7, 0)
_NOTES_WHO_ASKS = (7, 2)
_LASTS_WRONG_S, _LASTS_NOTE_S = 2 * 86_400.0, 30 * 86_400.0


class Verdict(StrEnum):
    """How a check went; `PROBLEM` makes the command exit with 3."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `mend` says what to do, and is empty when there is nothing to do."""

    check: str
    verdict: Verdict
    found: str
    mend: str = ""


def version(info: Mapping[str, object]) -> Finding:
    """Redis or Valkey, and whether it is new enough."""
    name = "Valkey" if info.get("server_name") == "valkey" or "valkey_version" in info else "Redis"
    text = str(info.get("valkey_version") or info.get("redis_version") or "0")
    parts = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if name == "Redis" and parts < _OLDEST:
        return Finding("version", Verdict.PROBLEM, f"{name} {text}", "use Redis 7.0 or newer, or Valkey")
    return Finding("version", Verdict.OK, f"{name} {text}")


def shows_idle(info: Mapping[str, object]) -> bool:
    """Whether the server notes consumers that ask and get nothing: Redis from 7.2 and Valkey (7.2.4 to clients)."""
    parts = str(info.get("redis_version") or "0").split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit()) >= _NOTES_WHO_ASKS


def role(info: Mapping[str, object]) -> Finding:
    """Only a master takes writes."""
    found = str(info.get("role", "?"))
    if found != "master":
        return Finding("role", Verdict.PROBLEM, found, "point LEADSTREAM_REDIS_URL at the master")
    return Finding("role", Verdict.OK, found)


def eviction(info: Mapping[str, object]) -> Finding:
    """With any other policy Redis deletes leads, ledgers and counters when memory runs short."""
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Finding("eviction policy", Verdict.OK, policy)
    return Finding(
        "eviction policy", Verdict.PROBLEM, policy, "CONFIG SET maxmemory-policy noeviction, and in the server's file"
    )


def persistence(info: Mapping[str, object], appendfsync: str | None) -> Finding:
    """What survives a crash of the server."""
    if info.get("loading") in (1, "1"):
        return Finding("persistence", Verdict.PROBLEM, "still loading its data", "wait until it has loaded")
    if info.get("aof_enabled") not in (1, "1"):
        return Finding(
            "persistence",
            Verdict.PROBLEM,
            "no append-only file: a crash loses what came since the last snapshot",
            "CONFIG SET appendonly yes, and in the server's file",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding("persistence", Verdict.PROBLEM, "the last write of the append-only file failed", "free the disk")
    means = {"always": "nothing acknowledged is lost", "everysec": "a power cut may lose the last second"}
    text = f"append-only file, appendfsync {appendfsync or 'unknown'}"
    if appendfsync in means:
        text += f": {means[appendfsync]}"
    if appendfsync == "no":
        return Finding("persistence", Verdict.PROBLEM, text, "CONFIG SET appendfsync everysec, or always")
    return Finding("persistence", Verdict.OK, text)


def memory(info: Mapping[str, object]) -> Finding:
    """How much room is left."""
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory")
    if not limit:
        total = _number(info, "total_system_memory")
        limit, what = total, "of the machine's memory"
    else:
        what = "of maxmemory"
    if not limit:
        mend = "set maxmemory, so that Redis refuses writes before the machine runs out of memory"
        return Finding("memory", Verdict.NOTE, f"{used >> 20} MiB used, limit unknown", mend)
    text = f"{used >> 20} MiB used, {100 * used // limit} % {what}"
    if 1 - used / limit < _MIN_HEADROOM:
        return Finding("memory", Verdict.PROBLEM, text, "raise maxmemory, or trim what every group has finished")
    return Finding("memory", Verdict.OK, text)


def budget(load: Load) -> Finding:
    """How long the memory lasts at the present rate."""
    found = estimate(load)
    if found.lasting is Lasting.UNKNOWN:
        return Finding("memory budget", Verdict.OK, "too little is stored to tell how long the memory lasts")
    rate = f"{load.per_s:.3g} entries/s of {found.bytes_per_entry:.0f} B each"
    if found.lasts_s is None:
        needs = f"; comes to {(found.needs or 0) >> 20} MiB of {load.limit >> 20} MiB" if load.per_s else ""
        return Finding("memory budget", Verdict.OK, f"lasts at the present rate: {rate}{needs}")
    text = f"{rate}: full in {_span(found.lasts_s)}"
    if found.lasts_s > _LASTS_NOTE_S and load.retain_s is None:
        return Finding("memory budget", Verdict.OK, text)
    mend = "set LEADSTREAM_ARCHIVE_URL and run the archiver" if load.retain_s is None else "lower LEADSTREAM_RETAIN"
    verdict = Verdict.PROBLEM if found.lasts_s < _LASTS_WRONG_S else Verdict.NOTE
    return Finding("memory budget", verdict, text, f"{mend}, or raise maxmemory")


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "hours")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 60:.0f} minutes"


def archive(url: str | None, group_there: bool, problem: str, turn: str | None) -> Finding:
    """Whether there is an archive, can be read, and is written. `turn`: the archiver at work."""
    if url is None:
        if group_there:
            return Finding(
                "archive", Verdict.PROBLEM, "there was one, and nothing is trimmed until it goes on",
                "set LEADSTREAM_ARCHIVE_URL and run the archiver, or leadstream groups remove archiver",
            )  # fmt: skip
        return Finding("archive", Verdict.OK, "none: LEADSTREAM_ARCHIVE_URL is not set")
    if problem:
        return Finding("archive", Verdict.PROBLEM, f"{url}: {problem}", "leadstream archive verify says more")
    if turn is None:
        return Finding("archive", Verdict.PROBLEM, f"{url}; no archiver runs", "start leadstream archiver")
    return Finding("archive", Verdict.OK, f"{url}; written by {turn}")


def retention(retain_s: float | None, forgotten: Mapping[str, int]) -> Finding:
    """What holds trimming back: groups that nobody serves, with their lag."""
    kept = "everything is kept" if retain_s is None else f"kept for {retain_s:g} s"
    if not forgotten:
        return Finding("retention", Verdict.OK, kept)
    named = ", ".join(f"{name} (lag {lag})" for name, lag in sorted(forgotten.items()))
    return Finding(
        "retention",
        Verdict.NOTE if retain_s is None else Verdict.PROBLEM,
        f"{kept}; groups that no service works for hold back trimming: {named}",
        f"start what reads for them, or leadstream groups remove {min(forgotten)}",
    )


def encryption(*, on: bool, known: set[str], needed: set[str]) -> Finding:
    """Whether leads are sealed, and whether the keys that wrap theirs (`needed`, `-` for none) are at hand."""
    missing = sorted(needed - known - {"-"})
    if missing:
        return Finding(
            "encryption",
            Verdict.PROBLEM,
            f"leads are sealed by key-encryption keys that are not in the keys file: {', '.join(missing[:5])}",
            "put them back into LEADSTREAM_ENCRYPTION_KEYS_FILE, below the newest",
        )
    if not on:
        return Finding(
            "encryption", Verdict.NOTE, "off: new leads are stored in the clear", "set LEADSTREAM_ENCRYPTION=on"
        )
    if not known:
        text = "on, but the leads' keys are in Redis unwrapped: whoever reads Redis can read leads"
        mend = "leadstream encryption new-key FILE, set LEADSTREAM_ENCRYPTION_KEYS_FILE, leadstream encryption rotate"
        return Finding("encryption", Verdict.NOTE, text, mend)
    if "-" in needed:
        return Finding("encryption", Verdict.NOTE, "on; some keys are not wrapped yet", "leadstream encryption rotate")
    return Finding("encryption", Verdict.OK, f"on; keys wrapped by {', '.join(sorted(needed)) or 'none yet'}")


def redis_user(name: str, outdated: Collection[str] | None, *, guarded: bool) -> Finding:
    """Who we are to Redis, and whether its users have the rights of this version.

    `guarded`: a password was needed. `outdated`: users of ours with other rights; None where that cannot be asked.
    """
    if outdated:
        return Finding(
            "redis user", Verdict.PROBLEM, f"{name}; rights of another version: {', '.join(sorted(outdated))}",
            "leadstream acl FOLDER writes those of this one; a copy has to be installed again; then ACL LOAD, as admin",
        )  # fmt: skip
    if name == "default" and not guarded:
        return Finding(
            "redis user", Verdict.NOTE, "default, without a password: whoever reaches Redis may do everything",
            "leadstream acl FOLDER makes a user for each service; see docs/security.md",
        )  # fmt: skip
    if outdated is None:
        return Finding("redis user", Verdict.OK, f"{name}; what users may do cannot be asked")
    return Finding("redis user", Verdict.OK, name)


def partitions(configured: int, stored: int | None) -> Finding:
    """Leads are placed by this number; it must never change."""
    if stored is None:
        return Finding("partitions", Verdict.OK, f"{configured}; fixed at the first start of a service")
    if stored != configured:
        return Finding(
            "partitions",
            Verdict.PROBLEM,
            f"configured {configured}, but this Redis was started with {stored}",
            f"set LEADSTREAM_PARTITIONS={stored}",
        )
    return Finding("partitions", Verdict.OK, str(stored))


def clock(ahead_s: float, round_trip_s: float) -> Finding:
    """Our clock against the server's. The limiter and `due` go by the server's, the times of events by ours."""
    off = abs(ahead_s)
    text = f"{off:.3f} s {'ahead of' if ahead_s > 0 else 'behind'} the server (±{round_trip_s / 2:.3f} s)"
    if off > _CLOCK_WRONG_S:
        return Finding("clock", Verdict.PROBLEM, text, "synchronise the clocks (chrony, systemd-timesyncd)")
    return Finding("clock", Verdict.NOTE if off > _CLOCK_WARN_S else Verdict.OK, text)


def _number(info: Mapping[str, object], name: str) -> int:
    value = info.get(name, 0)
    return int(value) if isinstance(value, int | str | float) else 0


def links(public_url: str) -> Finding:
    """Links in mails lead to the API, and mail providers act on one click (RFC 8058) over https only."""
    if public_url.startswith("https://"):
        return Finding("public url", Verdict.OK, public_url)
    return Finding(
        "public url",
        Verdict.NOTE,
        f"{public_url} is not https: one-click unsubscribe does not work, and links in mails lead there",
        "set LEADSTREAM_PUBLIC_URL to the https address of the API",
    )
