"""The measured table of docs/guarantees.md: its lines, its text, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GUARANTEES = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
BEGIN, END = "<!-- measured by make faults -->", "<!-- end of what was measured -->"
_HEAD = (
    "| fault | on unknown | times | leads | lost | duplicated | marked unknown | unmarked duplicates | recovery |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True)
class Line:
    """One fault: how often it struck, and what became of the mails. `wrong` names a counter that is not exact."""

    fault: str
    policy: str
    times: int
    leads: int
    lost: int
    duplicated: int
    marked: int
    unmarked: int
    recovery_s: float
    wrong: str = ""

    @property
    def kept(self) -> bool:
        """True when what is promised held."""
        held = self.policy != "hold" or self.duplicated == 0
        return self.lost == 0 and self.unmarked == 0 and held and not self.wrong

    def __str__(self) -> str:
        cells = (self.fault, self.policy, self.times, self.leads, self.lost, self.duplicated, self.marked)
        text = " | ".join(str(cell) for cell in (*cells, self.unmarked, f"{self.recovery_s:.1f} s"))
        return f"| {text} |{' ' + self.wrong if self.wrong else ''}"


def table(lines: Sequence[Line]) -> str:
    """The lines as Markdown."""
    return "\n".join([_HEAD, *map(str, lines)])


def write(text: str, path: Path = GUARANTEES) -> None:
    """Puts the text between the markers of the page; ValueError when the page has none."""
    page = path.read_text(encoding="utf-8")
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{path.name} has no markers for the table")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
