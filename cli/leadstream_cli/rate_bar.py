"""How far long work has come, how fast it goes and when it ends: a bar on a terminal, nothing in scripts."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any

import rich_click as click


class Bar:
    """`with Bar("counting") as bar:`, then `begin(total)` once it is known and `step(count)` as it goes on."""

    def __init__(self, label: str) -> None:
        self._label, self._stack = label, ExitStack()
        self._bar: Any = None
        self.count, self._started_s, self._ended_s = 0, time.monotonic(), 0.0

    def __enter__(self) -> Bar:
        self._started_s = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended_s = time.monotonic()
        self._stack.close()

    def begin(self, total: int) -> None:
        """Shows the bar, on stderr, if that is a terminal."""
        if sys.stderr.isatty():
            made: Any = click.progressbar(
                length=max(1, total),
                label=self._label,
                file=sys.stderr,
                show_pos=True,
                show_eta=True,
                item_show_func=lambda _: f"{self.rate:,.0f}/s",
            )
            self._bar = self._stack.enter_context(made)

    def step(self, count: int) -> None:
        """So many more are done."""
        self.count += count
        if self._bar is not None:
            self._bar.update(count, self.count)

    @property
    def seconds(self) -> float:
        """Since it began, or until it ended."""
        return max(1e-6, (self._ended_s or time.monotonic()) - self._started_s)

    @property
    def rate(self) -> float:
        """Steps a second, on the average."""
        return self.count / self.seconds
