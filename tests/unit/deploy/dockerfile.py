"""Reads Dockerfiles: as much of the format as ours use, and an error for anything else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILES = {
    "api": ROOT / "services/api/Dockerfile",
    "mailer": ROOT / "services/mailer/Dockerfile",
    "projections": ROOT / "services/projections/Dockerfile",
    "bounces": ROOT / "services/bounces/Dockerfile",
    "archiver": ROOT / "services/archiver/Dockerfile",
    "cli": ROOT / "cli/Dockerfile",
}
KNOWN = {
    *(
        "FROM",
        "WORKDIR",
        "ARG",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "CMD",
        "ENTRYPOINT",
    ),
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The text at its blanks."""
        return self.text.split()

    def exec_form(self) -> list[str]:
        """The JSON array of CMD, ENTRYPOINT or HEALTHCHECK CMD; ValueError for the shell form."""
        found = re.search(r"\[.*\]$", self.text)
        if found is None:
            raise ValueError(f"{self.name} is not in exec form: {self.text}")
        parsed: list[str] = json.loads(found[0])
        return parsed


def read(path: Path) -> list[list[Instruction]]:
    """The stages of a Dockerfile, each one beginning with its FROM."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stages: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, text = line.partition(" ")
        if name not in KNOWN:
            raise ValueError(f"{path}: {name} is not among what these files may use")
        if name == "FROM":
            stages.append([])
        stages[-1].append(Instruction(name, text.strip()))
    return stages
