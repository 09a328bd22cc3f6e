"""What two input files ask for, worked out from their plain text by the contract's rules and by nothing of leadstream.

An active subscriber whose states match gets each lead once; no states means all; purchased leads are a ceiling; each
lead is welcomed once.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leadstream_cli.verification import Due, Expected
from leadstream_events.errors import LeadstreamError

_YES = ("true", "yes", "1", "on", "")


@dataclass(frozen=True, slots=True)
class PlainSubscriber:
    """A line of the subscribers' file."""

    email: str
    active: bool
    states: frozenset[str]
    purchased: int | None


def read_lines(path: Path) -> list[bytes]:
    """The lines of a JSONL file that hold something."""
    try:
        return [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise _absent(path, error) from None


def read_plain_subscribers(path: Path) -> list[PlainSubscriber]:
    """The subscribers as the file says them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            return [_plain(row) for row in csv.DictReader(source)]
    except OSError as error:
        raise _absent(path, error) from None


def _plain(row: Mapping[str, str]) -> PlainSubscriber:
    purchased = (row.get("leads_purchased") or "").strip()
    return PlainSubscriber(
        (row["email"] or "").strip().lower(),
        (row.get("active") or "").strip().lower() in _YES,
        frozenset(re.findall(r"[A-Z]{2}", (row.get("states") or "").upper())),
        int(purchased) if purchased else None,
    )


def _absent(path: Path, error: OSError) -> LeadstreamError:
    return LeadstreamError(
        f"{path}: {error.strerror}; run it from a checkout of leadstream, or give --leads and --subscribers"
    )


def expect(
    subscribers: Sequence[PlainSubscriber], leads: Sequence[tuple[str, bytes]], *, welcome: bool = True
) -> Expected:
    """Returns what is due for (lead id, JSON line) pairs, each accepted once."""
    states = {lead_id: str(json.loads(line).get("state") or "").strip().upper() for lead_id, line in leads}
    due = []
    for each in subscribers:
        matching = frozenset(
            lead_id for lead_id, state in states.items() if each.active and (not each.states or state in each.states)
        )
        count = len(matching) if each.purchased is None else min(len(matching), each.purchased)
        due.append(Due(each.email, matching, count))
    return Expected(frozenset(states), tuple(due), frozenset(states) if welcome else frozenset())
