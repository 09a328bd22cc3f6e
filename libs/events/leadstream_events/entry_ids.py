"""Entry ids of streams, `<ms>-<sequence>`: their order, and their neighbours. Imports nothing, for fast starts."""

from __future__ import annotations


def entry_order(entry_id: str) -> tuple[int, int]:
    """The order of entry ids over all streams and partitions: milliseconds, then the sequence number."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


def just_before(entry_id: str) -> str:
    """The highest entry id below this one: where a group starts that has to read it again."""
    ms, sequence = entry_order(entry_id)
    return f"{ms}-{sequence - 1}" if sequence else f"{max(0, ms - 1)}-{2**64 - 1 if ms else 0}"


def just_after(entry_id: str) -> str:
    """The lowest entry id above this one."""
    ms, sequence = entry_order(entry_id)
    return f"{ms}-{sequence + 1}"
