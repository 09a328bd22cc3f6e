"""The Lua verbs, loaded once; a server that has forgotten them (SCRIPT FLUSH, failover) is told again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from leadstream_events.effects import Argument
from leadstream_events.redis_client import Client


@dataclass(frozen=True, slots=True)
class Script:
    """One verb; `sha` is what EVALSHA names it by."""

    name: str
    text: str
    sha: str


def _load(name: str, *parts: str) -> Script:
    """The verb `name`; `parts` are texts of functions that stand in front of it."""
    text = "".join((files("leadstream_events") / "lua" / f"{each}.lua").read_text() for each in (*parts, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


APPEND = _load("append")
BEGIN = _load("begin")
CLAIM = _load("claim")
COMMIT = _load("commit")
DAILY = _load("daily")
DUE = _load("due")
ERASE = _load("erase")
EVENTS_FORGET = _load("events_forget")
FORGET = _load("forget", "trim_guard")
GROUP_REMOVE = _load("group_remove")
KEEP = _load("keep")
MERGE = _load("merge")
PHASE = _load("phase")
REBUILD_ADD = _load("rebuild_add", "rebuild_fold")
REBUILD_BEGIN = _load("rebuild_begin")
REBUILD_SWAP = _load("rebuild_swap", "rebuild_fold")
REDRIVE = _load("redrive")
REPORT = _load("report")
RESERVE = _load("reserve")
RESTORE = _load("restore")
REWRAP = _load("rewrap")
RETIRE = _load("retire")
SEEK = _load("seek")
SETTLE = _load("settle")
SLOW = _load("slow")
SUBSCRIBER_PUT = _load("subscriber_put")
SUBSCRIBER_REMOVE = _load("subscriber_remove")
SUPPRESSION_CHANGE = _load("suppression_change")
TAKE = _load("take")
TRIM = _load("trim", "trim_guard")


async def run(client: Client, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
    """Runs a verb. A refused EVALSHA did nothing, so the EVAL after it cannot double anything."""
    try:
        return await client.evalsha(script.sha, len(keys), *keys, *args)
    except NoScriptError:
        return await client.eval(script.text, len(keys), *keys, *args)
