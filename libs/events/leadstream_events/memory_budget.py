"""How long the server's memory will last at the present rate: an estimate, pure, from a few figures of INFO.

What an entry costs is taken to be what is used now, shared among the entries that are there: ledgers and counters
grow with them. So it is too high while little is stored, and says nothing about a rate that changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# Below this many entries the server's own footprint would be taken for theirs.
LEAST_ENTRIES = 1_000


class Lasting(StrEnum):
    """How it ends: never (what is added is trimmed in time), at a foreseeable time, or nobody can tell."""

    STEADY = "steady"
    FILLS = "fills"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Load:
    """What was read. `limit` bytes is `maxmemory`, or the machine's memory; `per_s` entries added a second."""

    used: int
    limit: int
    entries: int
    per_s: float
    retain_s: float | None


@dataclass(frozen=True, slots=True)
class Budget:
    """`lasts_s` until the limit at this rate (`FILLS`); `needs`: bytes with all that `RETAIN` keeps (`STEADY`)."""

    lasting: Lasting
    bytes_per_entry: float = 0.0
    lasts_s: float | None = None
    needs: int | None = None


def limit_of(info: Mapping[str, object]) -> int:
    """The bytes that may be used, from INFO: `maxmemory`, else the machine's memory, else 0 (unknown)."""
    for name in ("maxmemory", "total_system_memory"):
        value = info.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def estimate(load: Load) -> Budget:
    """What the load comes to."""
    if load.entries < LEAST_ENTRIES or not load.limit:
        return Budget(Lasting.UNKNOWN)
    each = load.used / load.entries
    if load.per_s <= 0:
        return Budget(Lasting.STEADY, each, None, load.used)
    if load.retain_s is not None:
        needs = int(max(each * load.per_s * load.retain_s, 0))
        if needs <= load.limit:
            return Budget(Lasting.STEADY, each, None, needs)
    return Budget(Lasting.FILLS, each, max(0.0, load.limit - load.used) / (each * load.per_s))


def rate_of(newest_ms: list[int], now_ms: int) -> float:
    """Entries a second, from when the newest ones were stored (ms, any order): a stream at rest has a falling rate."""
    if not newest_ms:
        return 0.0
    return len(newest_ms) / max((now_ms - min(newest_ms)) / 1000, 1.0)
