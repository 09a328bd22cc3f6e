"""Every key name in Redis. Nothing else builds one.

`{N}` is the partition's hash tag: all keys that one script touches share it, so the same code runs on Redis
Cluster (cluster specification, "hash tags").
"""

from __future__ import annotations

import hashlib

PREFIX = "leadstream:"

LEADS = "leads"
EMAILS = "emails"
OUTCOMES = "outcomes"
DEAD = "dead"
STREAMS = (LEADS, EMAILS, OUTCOMES, DEAD)
# What operators did to streams and groups; no group reads it.
OPERATIONS = "operations"

FANOUT = "fanout"
MAILER = "mailer"
QUOTA = "quota"
# Stands where the archive ends in each stream; it has no consumers.
ARCHIVER = "archiver"
PROJECTION_PREFIX = "projections."

# Consumers that no process owns: entries parked until they are due. See docs/streams.md.
PARKED = "~due"

SUBSCRIBER_EVENTS = PREFIX + "{subscribers}:events"
# Only while `events_forget.lua` runs.
SUBSCRIBER_EVENTS_COPY = PREFIX + "{subscribers}:events:copy"
SUBSCRIBER_STATE = PREFIX + "{subscribers}:state"
SUBSCRIBER_EMAILS = PREFIX + "{subscribers}:emails"
SUPPRESSIONS = PREFIX + "{subscribers}:suppressions"
LIMITS = PREFIX + "{limits}:window:"
# Sorted set: the mails of a domain or group that are being sent, while their places last (`take.lua`).
PLACES = PREFIX + "{limits}:places:"
# Sorted set: the last start of a domain or group that asked for fewer mails (`take.lua`).
PACE = PREFIX + "{limits}:pace:"
# Hash: domain or group to what became of its rate when it asked for fewer mails (`slow.lua`).
SLOW = PREFIX + "{limits}:slow"
# Sorted set: the starts of the last day while a warm-up lasts (`take.lua`).
WARM_UP = LIMITS + "warm-up"
META = PREFIX + "{meta}"
# Commands of operators that were about more than one partition.
META_OPERATIONS = PREFIX + "{meta}:operations"
# Mails to our return path that nobody could make sense of, for a person; and their digests, so that each is kept once.
KEPT_REPORTS = PREFIX + "{bounces}:kept"
KEPT_REPORT_IDS = PREFIX + "{bounces}:kept:ids"
# String with a lifetime: some process has trimmed, and nobody need do it again before it ends.
RETENTION_TURN = PREFIX + "{meta}:turn:retention"
# String with a lifetime: which process writes to the archive.
ARCHIVER_TURN = PREFIX + "{meta}:turn:archiver"

# Hash: the day of the last summary to the operator, how it ended, and what was counted by then (`daily.lua`).
SUMMARY = PREFIX + "{meta}:summary"


def shared_turn(what: str) -> str:
    """String with a lifetime: some process does this just now, and nobody else need."""
    return PREFIX + "{meta}:turn:" + what


def stream(partition: int, name: str) -> str:
    """One of `STREAMS` in a partition."""
    return f"{PREFIX}{{{partition}}}:{name}"


def name_of(stream_key: str) -> str:
    """The short name (`leads`, `emails`, ...) of a stream key."""
    return stream_key.rpartition(":")[2]


def partition_in(key: str) -> int:
    """The partition of a key that `stream` built."""
    return int(key.partition("{")[2].partition("}")[0])


def ledger(partition: int, lead_id: str) -> str:
    """Hash: `lead` (entry id and fingerprint of the append) and one row per mail, see `ledger.py`."""
    return f"{PREFIX}{{{partition}}}:ledger:{lead_id}"


def lead_keys(partition: int) -> str:
    """Hash: lead id to its wrapped data key, or `erased` (`sealing.py`). In no stream and in no archive."""
    return f"{PREFIX}{{{partition}}}:keys"


def due(partition: int, group: str) -> str:
    """Sorted set: parked entries of a group, scored by the server time in ms at which they are due."""
    suffix = "due" if group == MAILER else f"due:{group}"
    return f"{PREFIX}{{{partition}}}:{suffix}"


def turn(partition: int, what: str) -> str:
    """String with a lifetime: whose turn it is to close this dead letter or mail (`redrive.py`)."""
    return f"{PREFIX}{{{partition}}}:turn:{what}"


def checkpoints(partition: int) -> str:
    """Hash: `<group> <stream>` to the id below which that group has finished everything."""
    return f"{PREFIX}{{{partition}}}:checkpoints"


def projection(partition: int, name: str, generation: int, part: str = "") -> str:
    """Counters of a projection's generation; `part` is a lead id or a bucket group."""
    tail = f":{part}" if part else ""
    return f"{PREFIX}{{{partition}}}:p:{name}:{generation}{tail}"


def projection_pointer(partition: int) -> str:
    """Hash: projection name to its live generation; and what its rebuilds left to do (`lua/rebuild_*.lua`)."""
    return f"{PREFIX}{{{partition}}}:p"


def rebuild(partition: int, name: str) -> str:
    """Hash: how far a projection's next generation is filled; gone once it is live."""
    return f"{PREFIX}{{{partition}}}:rebuild:{name}"


def quota(subscriber_id: str) -> str:
    """Hash: `sent` of a subscriber with a purchase limit."""
    return f"{PREFIX}{{subscribers}}:quota:{subscriber_id}"


def soft_bounces(address_key: str) -> str:
    """Sorted set with a lifetime: soft bounces of an address by their time; the address itself is not in the name."""
    digest = hashlib.sha256(address_key.encode()).hexdigest()[:32]
    return f"{PREFIX}{{subscribers}}:soft:{digest}"


def reserved(subscriber_id: str) -> str:
    """Set: ids of mails that hold a purchased lead of this subscriber but are not settled yet."""
    return f"{PREFIX}{{subscribers}}:reserved:{subscriber_id}"


def webhook(digest: str) -> str:
    """String with a lifetime: a provider's event or signature (SHA-256 of it) that was dealt with."""
    return f"{PREFIX}{{meta}}:webhook:{digest}"
