"""Every key name in Redis. Nothing else builds one.

`{N}` is the partition's hash tag: all keys that one script touches share it, so the same code runs on Redis
Cluster (cluster specification, "hash tags").
"""

from __future__ import annotations

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
PROJECTION_PREFIX = "projections."

# Consumers that no process owns: entries parked until they are due. See docs/streams.md.
PARKED = "~due"

SUBSCRIBER_EVENTS = PREFIX + "{subscribers}:events"
SUBSCRIBER_STATE = PREFIX + "{subscribers}:state"
SUBSCRIBER_EMAILS = PREFIX + "{subscribers}:emails"
SUPPRESSIONS = PREFIX + "{subscribers}:suppressions"
LIMITS = PREFIX + "{limits}:window:"
META = PREFIX + "{meta}"
# Commands of operators that were about more than one partition.
META_OPERATIONS = PREFIX + "{meta}:operations"
# String with a lifetime: some process has trimmed, and nobody need do it again before it ends.
RETENTION_TURN = PREFIX + "{meta}:turn:retention"


def stream(partition: int, name: str) -> str:
    """One of `STREAMS` in a partition."""
    return f"{PREFIX}{{{partition}}}:{name}"


def name_of(stream_key: str) -> str:
    """The short name (`leads`, `emails`, ...) of a stream key."""
    return stream_key.rpartition(":")[2]


def ledger(partition: int, lead_id: str) -> str:
    """Hash: `lead` (entry id and fingerprint of the append) and one row per mail, see `ledger.py`."""
    return f"{PREFIX}{{{partition}}}:ledger:{lead_id}"


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


def reserved(subscriber_id: str) -> str:
    """Set: ids of mails that hold a purchased lead of this subscriber but are not settled yet."""
    return f"{PREFIX}{{subscribers}}:reserved:{subscriber_id}"
