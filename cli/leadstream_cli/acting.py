"""Commands that change something: they say what they will do, ask, and note who did it and why."""

from __future__ import annotations

import functools
import getpass
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import rich_click as click

from leadstream_cli.errors_text import say

if TYPE_CHECKING:
    from leadstream_events.redrive_rules import Actor

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Consent:
    """How far a command may go, and why it goes there."""

    yes: bool
    dry_run: bool
    why: str

    def given(self, question: str) -> bool:
        """True when it is to be done: `--yes`, or a person says so. No answer (a closed stdin) is `click.Abort`."""
        if self.dry_run:
            say("dry run: nothing was changed")
            return False
        return self.yes or click.confirm(question, err=True)

    @property
    def actor(self) -> Actor:
        """Who does it, as the events say it."""
        from leadstream_events.redrive_rules import Actor

        return Actor(who(), self.why)


def who() -> str:
    """user@host of this process; the host without its domain, so that it is no address."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname().partition('.')[0]}"


def consent_options(*, reason_required: bool = False) -> Callable[[Callable[P, R]], Callable[..., R]]:
    """Adds `--yes`, `--dry-run` and `--reason`; the command gets them as `consent`."""

    def decorate(command: Callable[P, R]) -> Callable[..., R]:
        @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
        @click.option("--dry-run", is_flag=True, help="Only say what would be done.")
        @click.option("--reason", "--why", "why", default="", help="Kept with the event that it makes.")
        @functools.wraps(command)
        def wrapper(*args: Any, yes: bool, dry_run: bool, why: str, **kwargs: Any) -> R:
            if reason_required and not why.strip() and not dry_run:
                raise click.UsageError("say why: --reason TEXT", click.get_current_context())
            kwargs["consent"] = Consent(yes, dry_run, why)
            return command(*args, **kwargs)

        return wrapper

    return decorate
