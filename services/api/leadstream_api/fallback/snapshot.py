"""What is known of subscribers, suppressions, purchased leads and sending limits when Redis goes away.

Looked at once a second while Redis is there; the directory and the leads that are left are kept in the spool file
whenever they changed, so that a restart during an outage still knows them. A change in the last second before the
outage may be missing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from leadstream_api.fallback.limiter import LocalLimiter, span_of_s
from leadstream_api.fallback.rows import pack
from leadstream_api.fallback.spool import Spool
from leadstream_events import keys
from leadstream_events.directory import Directory, Snapshot
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.schemas.lead import address_key
from leadstream_events.schemas.subscriber import MailFormat, Subscriber, Suppression
from leadstream_events.settings import Settings
from leadstream_events.signing import configured, signing_secrets
from leadstream_events.subscribers import SubscriberStore

EVERY_S = 1.0
_LOOK_DEADLINE_S = 2.0
_MINUTE_S = 60.0
_USAGES_PER_S = 500
_MOST_STARTS = 1000
_DIRECTORY, _QUOTA, _SECRETS = "directory", "quota", "secrets"


@dataclass(frozen=True, slots=True)
class Known:
    """The last look. `left`: leads left by subscriber, of those with a limit. `recent`: leads in the minute before."""

    directory: Snapshot
    left: Mapping[str, int] = field(default_factory=dict)
    recent: int = 0

    def may_get(self, subscriber: Subscriber, leads_since: int) -> bool:
        """True when the subscriber surely has a lead left, whatever became of every lead since."""
        if subscriber.leads_purchased is None:
            return True
        return self.left.get(subscriber.id, 0) - self.recent - leads_since > 0


def dump_directory(snapshot: Snapshot) -> str:
    """A snapshot as JSON."""
    return pack(
        {
            "position": snapshot.position,
            "subscribers": [item.model_dump(mode="json") for item in snapshot.subscribers.values()],
            "suppressions": [item.model_dump(mode="json") for item in snapshot.suppressions.values()],
        }
    )


def load_directory(text: str) -> Snapshot:
    """Reads what `dump_directory` wrote."""
    value = msgspec.json.decode(text)
    subscribers = [Subscriber.model_validate(item) for item in value["subscribers"]]
    suppressions = [Suppression.model_validate(item) for item in value["suppressions"]]
    return Snapshot(
        {item.id: item for item in subscribers},
        {address_key(item.address): item for item in suppressions},
        value["position"],
    )


class SnapshotKeeper:
    """Looks at Redis and remembers. `known` is None until there ever was a look.

    Raises `ConfigurationError` at once for a file of secrets that cannot be used.
    """

    def __init__(self, client: Client, log: StreamLog, spool: Spool, limiter: LocalLimiter, settings: Settings) -> None:
        self._client, self._log, self._spool, self._limiter = client, log, spool, limiter
        # What signs return paths and links; empty until it was ever learned.
        self.secrets = configured(settings)
        self._directory = Directory(client, self.secrets)
        self._settings, self._asked_secrets = settings, bool(self.secrets)
        self._subscribers = SubscriberStore(client)
        self._stored: Snapshot | None = None
        self._added: deque[tuple[float, int]] = deque()
        self._left_s = 0.0
        self.known: Known | None = None
        self.appended = 0  # leads that this process stored since the last look

    async def load(self) -> None:
        """Takes over what an earlier process knew."""
        if not self.secrets:
            kept: list[str] = msgspec.json.decode(await self._spool.fact(_SECRETS) or "[]")
            self.secrets = tuple(map(bytes.fromhex, kept))
        text = await self._spool.fact(_DIRECTORY)
        if text is not None and self.known is None:
            quota: dict[str, Any] = msgspec.json.decode(await self._spool.fact(_QUOTA) or '{"left":{},"recent":0}')
            directory = replace(load_directory(text), secrets=self.secrets)
            self.known = Known(directory, quota["left"], quota["recent"])

    def format_of(self, subscriber_id: str | None) -> MailFormat:
        """How a subscriber's mails are written, by what is known; of a mail to a lead, HTML."""
        subscriber = self.known.directory.subscribers.get(subscriber_id or "") if self.known else None
        return subscriber.format if subscriber else MailFormat.HTML

    def forget(self) -> None:
        """Redis was away, and may have lost data: read everything anew."""
        self._directory.forget()
        self._asked_secrets = bool(configured(self._settings))

    async def look(self) -> None:
        """Looks at Redis once; Redis errors and `SpoolUnavailable` pass through."""
        before = self.known
        async with asyncio.timeout(_LOOK_DEADLINE_S):
            await self._learn_secrets()
            directory = await self._directory.refresh()
            recent = await self._recent()
            left = await self._leads_left(directory)
            await self._seed_limits()
        self.known, self.appended = Known(directory, left, recent), 0
        if directory is not self._stored:
            await self._spool.set_fact(_DIRECTORY, dump_directory(directory))
            self._stored = directory
        if left and (before is None or (before.left, before.recent) != (left, recent)):
            await self._spool.set_fact(_QUOTA, pack({"left": left, "recent": recent}))

    async def _learn_secrets(self) -> None:
        """Once, and again when Redis may have lost data; a secret of the settings is known anyway."""
        if self._asked_secrets:
            return
        secrets = tuple(await signing_secrets(self._client, self._settings))
        if secrets != self.secrets:
            await self._spool.set_fact(_SECRETS, pack([secret.hex() for secret in secrets]))
        self.secrets, self._asked_secrets = secrets, True
        self._directory.use(secrets)

    async def _recent(self) -> int:
        """Leads that were stored in the last minute, by whomever."""
        total, now = 0, time.monotonic()
        for number in range(self._log.partitions):
            stream = keys.stream(number, keys.LEADS)
            if await self._client.exists(stream):
                total += int((await self._client.xinfo_stream(stream)).get("entries-added", 0))
        self._added.append((now, total))
        while len(self._added) > 1 and self._added[1][0] <= now - _MINUTE_S:
            self._added.popleft()
        return max(0, total - self._added[0][1])

    async def _leads_left(self, directory: Snapshot) -> Mapping[str, int]:
        limited = {item.id: item.leads_purchased for item in directory.subscribers.values()}
        bought = {key: count for key, count in limited.items() if count is not None}
        now = time.monotonic()
        if not bought or (self.known and now - self._left_s < len(bought) / _USAGES_PER_S):
            return self.known.left if self.known and bought else {}
        self._left_s = now
        usage = await self._subscribers.usage(list(bought))
        return {key: count - usage[key].sent - usage[key].reserved for key, count in bought.items()}

    async def _seed_limits(self) -> None:
        """Reads when the latest tokens were handed out, up to the limit and to 1,000 of them."""
        for name, rate in self._limiter.every_limit().items():
            newest = await self._client.zrevrange(
                keys.LIMITS + name, 0, min(rate.count, _MOST_STARTS) - 1, withscores=True
            )
            now = time.monotonic()
            server_s = await self._log.server_ms(0, now) / 1000
            ages = (server_s - score / 1000 for _, score in newest)
            self._limiter.replace(name, [now - age for age in ages if age < span_of_s(rate)])
