"""The checks of `doctor`: pure verdicts over what was read, each with its mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_MIN_HEADROOM = 0.2
_CLOCK_WARN_S, _CLOCK_WRONG_S = 1.0, 5.0
_OLDEST = (7, 0)


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
        return Finding("memory", Verdict.NOTE, f"{used >> 20} MiB used, limit unknown")
    text = f"{used >> 20} MiB used, {100 * used // limit} % {what}"
    if 1 - used / limit < _MIN_HEADROOM:
        return Finding("memory", Verdict.PROBLEM, text, "raise maxmemory, or trim what every group has finished")
    return Finding("memory", Verdict.OK, text)


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
