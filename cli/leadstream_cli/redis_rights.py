"""What each service does in Redis: the one table that its user's rights are made of. Pure.

A right is a set of commands on a set of keys. Redis asks for it again at each command inside a script, and what a
script did before a refused command stays done (ACL, "Key permissions"; EVAL, "atomicity"): so a verb's commands must
all be here, for every user that runs it. `VERBS` says who runs which, and a unit test holds verbs, commands and
users together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leadstream_events import keys

# In the place of a partition's number.
_N: Any = "[0-9]*"


@dataclass(frozen=True, slots=True)
class Right:
    """Commands on keys, and why they are needed. All keys of one command must stand in one right."""

    why: str
    keys: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user: what it is for, what it may do to keys, and commands that know no key."""

    what: str
    rights: tuple[Right, ...]
    plain: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key it may do something with."""
        return tuple(sorted({key for right in self.rights for key in right.keys}))


LEADS, EMAILS, OUTCOMES, DEAD = STREAMS = tuple(keys.stream(_N, name) for name in keys.STREAMS)
OPERATIONS = keys.stream(_N, keys.OPERATIONS)
LEDGERS, LEAD_KEYS, CHECKPOINTS = keys.ledger(_N, "*"), keys.lead_keys(_N), keys.checkpoints(_N)
COUNTERS, POINTERS, REBUILDS = keys.projection(_N, "*", _N) + "*", keys.projection_pointer(_N), keys.rebuild(_N, "*")
EVENTS, EVENTS_COPY = keys.SUBSCRIBER_EVENTS, keys.SUBSCRIBER_EVENTS_COPY
STATE, ADDRESSES, SUPPRESSIONS = keys.SUBSCRIBER_STATE, keys.SUBSCRIBER_EMAILS, keys.SUPPRESSIONS
RESERVED, QUOTA = keys.reserved("*"), keys.quota("*")
SOFT = keys.soft_bounces("").rpartition(":")[0] + ":*"
WINDOWS, PLACES, PACE = (name + "*" for name in (keys.LIMITS, keys.PLACES, keys.PACE))

_READ_HASH = ("hget", "hmget", "hgetall", "hexists", "hlen", "hkeys", "hvals", "hscan")
_READ_STREAM = ("xrange", "xrevrange", "xlen", "xpending", "xinfo|stream", "xinfo|groups", "xinfo|consumers")
_TOKENS = ("zremrangebyscore", "zcard", "zrange", "zadd", "pexpire")

# Every user: a connection, MULTI for what belongs together, the server's clock, and what a client of a cluster asks.
CONNECTION = (
    "ping", "select", "time", "multi", "exec", "discard", "script|load", "readonly", "command", "cluster|slots",
    "cluster|shards", "cluster|nodes", "acl|whoami",
)  # fmt: skip
# On every key that a user may do something with: scripts, whose commands are asked for one by one, and looking.
ON_ALL_ITS_KEYS = ("evalsha", "eval", "exists", "type")

_HOUSE = (Right("the number of partitions; the secret that signs links, where no file holds it", (keys.META,), (
    "hget", "hsetnx")),)  # fmt: skip
_SUBSCRIBERS = (
    Right("follows the directory of subscribers", (EVENTS,), ("xread", "xrevrange")),
    Right("who gets mails", (STATE, ADDRESSES, SUPPRESSIONS), ("hget", "hmget", "hvals", "hlen", "hexists")),
)
_READS_LEADS = (Right("opens sealed leads", (LEAD_KEYS,), ("hget", "hmget")),)
_SUPPRESSES = (
    Right("counts soft bounces of an address", (SOFT,), ("zadd", "zremrangebyscore", "zcard", "expire")),
    Right("suppresses an address", (SUPPRESSIONS,), ("hset",)),
    Right("tells of it", (EVENTS,), ("xadd",)),
)
_FOLLOWS_REPORTS = (
    Right("finds the mail and the lead that a report is about", (LEADS, EMAILS), ("xrange",)),
    Right("its row; notes what came back", (LEDGERS,), ("hget", "hexists", "hkeys", "hset")),
)
_REPORTS = (*_FOLLOWS_REPORTS, Right("tells of it", (OUTCOMES,), ("xlen", "xadd")))
_COUNTED = (
    Right("reads counters", (COUNTERS, POINTERS, CHECKPOINTS, REBUILDS), _READ_HASH),
    Right("what is left of a purchase", (QUOTA,), _READ_HASH),
    Right("what is reserved of a purchase", (RESERVED,), ("scard",)),
)
_RESERVES = (
    Right("reserves and settles purchased leads", (RESERVED,), ("sismember", "scard", "sadd", "srem")),
    Right("what was sent of a purchase", (QUOTA,), ("hget", "hmget", "hset", "hincrby")),
)


def _works(streams: tuple[str, ...], groups: str) -> tuple[Right, ...]:
    """The runtime's own: reads for its groups, takes over, parks, finishes; a bad entry becomes a dead letter."""
    return (
        Right("reads for its groups, takes over what the dead left, acknowledges", streams, (
            "xreadgroup", "xgroup|create", "xgroup|delconsumer", "xclaim", "xack", "xpending", "xrange", "xlen",
            "xinfo|groups", "xinfo|consumers")),
        Right("parks until it is due", (keys.due(_N, groups),), ("zadd", "zrem", "zrange", "zrangebyscore")),
        Right("how far its groups are", (CHECKPOINTS,), ("hget", "hset")),
        Right("dead letters", (DEAD,), ("xadd",)),
    )  # fmt: skip


_FANOUT = User(
    "fan-out and quota",
    (
        *_HOUSE, *_SUBSCRIBERS, *_READS_LEADS, *_RESERVES, *_SUPPRESSES, *_FOLLOWS_REPORTS,
        *_works((LEADS, OUTCOMES), "[fq]*"),
        Right("requests mails", (EMAILS,), ("xadd",)),
        Right("which it requested", (LEDGERS,), ("hkeys", "hsetnx")),
    ),
)  # fmt: skip

_MAILER = User(
    "sends mails, and the daily summary",
    (
        *_HOUSE, *_SUBSCRIBERS, *_READS_LEADS, *_COUNTED,
        *_works((EMAILS,), keys.MAILER),
        Right("reads the lead that a mail is about", (LEADS,), ("xrange",)),
        Right("the mail's row: begins, notes, ends it", (LEDGERS,), ("hget", "hset")),
        Right("says how mails ended", (OUTCOMES,), ("xadd",)),
        Right("takes tokens and places", (WINDOWS, PLACES, PACE), (*_TOKENS, "zrem")),
        Right("slows domains down", (keys.SLOW,), ("hgetall", "hset", "hdel", "pexpire")),
        Right("the day's summary", (keys.SUMMARY,), ("hgetall", "hmget", "hset")),
        Right("what the summary tells of: what waits, and since when", (*STREAMS, EVENTS), (
            "xlen", "xinfo|stream", "xinfo|groups", "xpending", "xrange")),
    ),
)  # fmt: skip

_PROJECTIONS = User(
    "counts; trims what is finished; removes dead consumers",
    (
        *_HOUSE,
        *_works((LEADS, EMAILS, OUTCOMES), keys.PROJECTION_PREFIX + "*"),
        Right("counts", (COUNTERS,), (*_READ_HASH, "hset", "hsetnx", "hincrby", "expire")),
        Right("which generation lives, how far a rebuild is", (POINTERS, REBUILDS), (
            *_READ_HASH, "hset", "hsetnx", "hincrby", "hdel", "del")),
        Right("how far every group is", (CHECKPOINTS,), _READ_HASH),
        Right("reads the past for rebuilds; finds dead consumers and what a group still needs", STREAMS, _READ_STREAM),
        Right("moves its groups to where a rebuild has counted", (LEADS, EMAILS, OUTCOMES), ("xgroup|setid",)),
        Right("trims what every group has finished", STREAMS, ("xtrim",)),
        Right("tells of it", (OPERATIONS,), ("xlen", "xadd")),
        Right("removes dead consumers", STREAMS, ("xgroup|delconsumer",)),
        Right("forgets leads that are over, with their counters and keys", (LEDGERS, COUNTERS), ("unlink",)),
        Right("whether a lead is over", (LEDGERS,), ("hget", "hgetall")),
        Right("forgets their keys", (LEAD_KEYS,), ("hdel",)),
        Right("whose turn it is", (keys.shared_turn("*"),), ("set", "get", "pexpire", "del")),
    ),
    plain=("scan",),
)  # fmt: skip

_ARCHIVED = (*STREAMS, OPERATIONS, EVENTS, keys.META_OPERATIONS)
_ARCHIVER = User(
    "writes what is finished to the archive, and trims it",
    (
        *_HOUSE,
        Right("reads what is finished", _ARCHIVED, _READ_STREAM),
        Right("stands where the archive ends", _ARCHIVED, ("xgroup|create", "xgroup|setid")),
        Right("trims what is archived", _ARCHIVED, ("xtrim",)),
        Right("whether a lead is over", (LEDGERS, CHECKPOINTS, REBUILDS, POINTERS), ("hget", "hgetall", "hmget")),
        Right("forgets leads that are over, with their counters", (LEDGERS, COUNTERS), ("unlink",)),
        Right("forgets the keys of leads whose entries it dropped from the archive", (LEAD_KEYS,), ("hdel",)),
        Right("one archiver at a time", (keys.ARCHIVER_TURN,), ("set", "get", "pexpire", "del")),
    ),
    plain=("info",),
)  # fmt: skip

_BOUNCES = User(
    "takes bounces and complaints",
    (
        *_HOUSE, *_SUBSCRIBERS, *_READS_LEADS, *_SUPPRESSES, *_REPORTS,
        Right("keeps what a person has to look at", (keys.KEPT_REPORTS,), ("xtrim", "xadd", "xrange", "xrevrange")),
        Right("keeps each once", (keys.KEPT_REPORT_IDS,), (
            "zremrangebyscore", "zremrangebyrank", "zscore", "zadd")),
    ),
)  # fmt: skip

_ERASES = (
    Right("erases a lead: its key, its fingerprint, and says so", (LEDGERS, LEAD_KEYS), ("hget", "hset")),
    Right("forgets what told of its address", (EVENTS, EVENTS_COPY), (
        "xdel", "xlen", "xinfo|groups", "xinfo|stream", "xrange", "xadd", "xsetid", "rename", "del")),
    Right("forgets its suppression", (SUPPRESSIONS,), ("hget", "hdel")),
    Right("forgets its bounces", (SOFT,), ("del",)),
)  # fmt: skip
_REDRIVES = (
    Right("closes dead letters", (DEAD,), ("xrange", "xinfo|groups", "xpending", "xdel")),
    Right("delivers an entry again, or requests its mail again", (LEADS, EMAILS, OUTCOMES), (
        "xrange", "xlen", "xadd", "xclaim")),
    Right("is due at once", (keys.due(_N, "*"), keys.due(_N, keys.MAILER)), ("zadd",)),
    Right("one at a time closes a letter", (keys.turn(_N, "*"),), ("set", "get", "del")),
    Right("the mail's row", (LEDGERS,), ("hget", "hset")),
    Right("who did what to many of them", (keys.META_OPERATIONS,), ("xadd",)),
)  # fmt: skip
_DIRECTS = (
    Right("changes subscribers and suppressions", (STATE, ADDRESSES, SUPPRESSIONS), ("hget", "hset", "hdel")),
    Right("tells of it", (EVENTS,), ("xadd",)),
)

_API = User(
    "takes leads, answers queries; sends and merges after Redis was away",
    (
        *_HOUSE, *_SUBSCRIBERS, *_READS_LEADS, *_COUNTED, *_RESERVES, *_SUPPRESSES, *_REPORTS, *_ERASES,
        *_REDRIVES, *_DIRECTS,
        Right("asks whether Redis takes writes", (keys.META,), ("hset",)),
        Right("stores leads, and merges what was done without Redis", (LEADS, EMAILS, OUTCOMES, DEAD), ("xadd",)),
        Right("their keys and rows", (LEDGERS, LEAD_KEYS), ("hget", "hmget", "hlen", "hset")),
        Right("shows streams, groups and leads", (*STREAMS, EVENTS), _READ_STREAM),
        Right("shows a lead", (LEDGERS,), _READ_HASH),
        Right("limits callers; counts mails that went without Redis; shows limits", (WINDOWS, PLACES, PACE), (
            *_TOKENS, "zcount", "zrevrange")),
        Right("shows limits", (keys.SLOW,), ("hgetall",)),
        Right("takes each event of a provider once", (keys.webhook("*"),), ("set", "get", "del")),
    ),
    # Whether an append is on disk when it is answered is said nowhere but in CONFIG.
    plain=("config|get",),
)  # fmt: skip

_ALL = (f"{keys.PREFIX}*",)
_CLI = User(
    "the command line: reads everything, and operates",
    (
        *_ERASES, *_REDRIVES, *_RESERVES, *_DIRECTS, *_SUPPRESSES, *_REPORTS, *_PROJECTIONS.rights, *_BOUNCES.rights,
        Right("reads everything", _ALL, (
            *_READ_HASH, *_READ_STREAM, "xread", "get", "scard", "sismember", "zcard", "zcount", "zrange", "zrevrange",
            "zscore", "zmscore", "memory|usage", "pttl")),
        Right("moves groups, claims, removes groups", STREAMS, (
            "xgroup|setid", "xgroup|create", "xgroup|destroy", "xclaim", "xack", "xreadgroup")),
        Right("imports and restores", (*STREAMS, EVENTS), ("xadd",)),
        Right("imports and restores; wraps keys anew", (
            LEDGERS, LEAD_KEYS, CHECKPOINTS, QUOTA, STATE, ADDRESSES, SUPPRESSIONS), ("hset", "hdel")),
        Right("limits of a test mail", (WINDOWS, PLACES, PACE), (*_TOKENS, "zrem")),
        Right("slows domains down", (keys.SLOW,), ("hset", "hdel", "pexpire")),
        Right("the summary", (keys.SUMMARY,), ("hmget", "hset")),
        Right("whether Redis takes writes", (keys.META + ":doctor",), ("set",)),
    ),
    # Of other users it learns what they may do, and nothing else.
    plain=("info", "config|get", "scan", "acl|dryrun"),
)  # fmt: skip

SERVICES: Mapping[str, User] = {
    "api": _API,
    "fanout": _FANOUT,
    "mailer": _MAILER,
    "projections": _PROJECTIONS,
    "archiver": _ARCHIVER,
    "bounces": _BOUNCES,
}
# Children of one parent share its login.
_SERVE = User(
    "all services under one parent (leadstream serve)",
    tuple(dict.fromkeys(right for user in SERVICES.values() for right in user.rights)),
    plain=tuple(dict.fromkeys(command for user in SERVICES.values() for command in user.plain)),
)
USERS: Mapping[str, User] = {**SERVICES, "serve": _SERVE, "cli": _CLI}

_WORKERS = ("fanout", "mailer", "projections")
# Lua verb to the users that run it.
VERBS: Mapping[str, tuple[str, ...]] = {
    "append": ("api",),
    "begin": ("mailer",),
    "claim": ("cli",),
    "commit": (*_WORKERS, "cli"),
    "daily": ("mailer", "cli"),
    "due": _WORKERS,
    "erase": ("api", "cli"),
    "events_forget": ("api", "cli"),
    "forget": ("projections", "archiver", "cli"),
    "group_remove": ("cli",),
    "keep": ("bounces", "cli"),
    "merge": ("api",),
    "phase": ("mailer",),
    "rebuild_add": ("projections", "cli"),
    "rebuild_begin": ("projections", "cli"),
    "rebuild_swap": ("projections", "cli"),
    "redrive": ("api", "cli"),
    "report": ("bounces", "api", "cli"),
    "reserve": ("fanout", "api", "cli"),
    "restore": ("cli",),
    "retire": _WORKERS,
    "rewrap": ("cli",),
    "seek": ("cli",),
    "settle": ("fanout",),
    "slow": ("mailer",),
    "subscriber_put": ("api", "cli"),
    "subscriber_remove": ("api", "cli"),
    "suppression_change": ("api", "cli"),
    "take": ("mailer", "api"),
    "trim": ("projections", "archiver", "cli"),
}
