"""How far something has come: a bar on a terminal, nothing in scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import rich_click as click


class Step(Protocol):
    """Tells that so many more are done."""

    def __call__(self, count: int, /) -> None: ...


@contextmanager
def progress(total: int, label: str) -> Iterator[Step]:
    """Yields what is to be told of every step; draws on stderr, and only if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=max(1, total), label=label, file=sys.stderr) as bar:
        yield bar.update
