"""What the counters have to be, worked out by a full scan of the streams that shares no code with the projections."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from typing import Any

from tests.support.waiting import DEADLINE_S, eventually

Counters = dict[str, dict[str, str]]

_SHORT = {
    "EmailRequested": "requested",
    "EmailSent": "sent",
    "EmailDeferred": "deferred",
    "EmailFailed": "failed",
    "EmailSkipped": "skipped",
    "EmailOutcomeUnknown": "unknown",
    "EmailBounced": "bounced",
    "EmailComplained": "complained",
}


class _Scan:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.texts: dict[str, dict[str, str]] = defaultdict(dict)

    def add(self, key: str, *fields: str) -> None:
        for field in fields:
            self.counts[self.prefix + key][field] += 1

    def entry(self, stream: str, entry_id: str, entry: dict[str, str]) -> None:
        kind, lead, data = entry["type"], entry["subject"], json.loads(entry["data"])
        self.texts[f"{self.prefix}leads:1:{lead}"]["@" + entry["id"]] = f"{stream} {entry_id}"
        if kind == "LeadReceived":
            self.add("totals:1", "leads")
            self.time(entry["time"], "leads")
        elif kind in _SHORT:
            self.mail(_SHORT[kind], entry, data)

    def mail(self, metric: str, entry: dict[str, str], data: dict[str, Any]) -> None:
        self.add("totals:1", metric, f"{metric}:{data['kind']}")
        self.add("leads:1:" + entry["subject"], metric)
        if metric == "failed":
            self.add("totals:1", "failed:" + data["cause"])
        if metric == "skipped":
            self.add("totals:1", "skipped:" + data["reason"])
        if metric in ("sent", "deferred", "unknown") or (metric == "failed" and data.get("failure")):
            self.add("totals:1", "attempts")
        if metric not in ("bounced", "complained"):
            self.time(entry["time"], metric, *([f"sent:{data['kind']}"] if metric == "sent" else []))
        subscriber = data.get("subscriber_id")
        if subscriber:
            self.add("subscribers:1", f"{subscriber}:{metric}")
            if metric == "sent":
                last = self.texts[self.prefix + "subscribers:1"]
                field = subscriber + ":last_sent"
                last[field] = max(last.get(field, ""), entry["time"])

    def time(self, text: str, *metrics: str) -> None:
        at = datetime.fromisoformat(text)
        for metric in metrics:
            self.add(at.strftime("series:1:minute:%Y%m%d"), at.strftime("%H:%M ") + metric)
            self.add(at.strftime("series:1:hour:%Y%m"), at.strftime("%dT%H ") + metric)
            self.add(at.strftime("series:1:day:%Y"), at.strftime("%m-%d ") + metric)


async def expected(client: Any, partition: int = 0) -> Counters:
    """Every counter of a partition, by key and field, from the streams alone."""
    base = f"leadstream:{{{partition}}}:"
    scan = _Scan(base + "p:")
    for stream in ("leads", "emails", "outcomes"):
        for entry_id, fields in await client.xrange(base + stream):
            scan.entry(stream, entry_id.decode(), {name.decode(): value.decode() for name, value in fields.items()})
    out: Counters = {key: {field: str(n) for field, n in fields.items()} for key, fields in scan.counts.items()}
    for key, texts in scan.texts.items():
        out.setdefault(key, {}).update(texts)
    return out


async def stored(client: Any, partition: int = 0) -> Counters:
    """Every counter that is stored, whatever its key."""
    out: Counters = {}
    async for key in client.scan_iter(f"leadstream:{{{partition}}}:p:*", count=1000):
        out[key.decode()] = {name.decode(): value.decode() for name, value in (await client.hgetall(key)).items()}
    return out


async def all_finished(client: Any, groups: dict[str, tuple[str, ...]], partition: int = 0) -> bool:
    """True when each group has been handed every entry of its streams and none is pending."""
    for group, streams in groups.items():
        for name in streams:
            stream = f"leadstream:{{{partition}}}:{name}"
            if not await client.exists(stream):
                continue
            last = (await client.xinfo_stream(stream))["last-generated-id"]
            infos = [item for item in await client.xinfo_groups(stream) if item["name"] == group.encode()]
            if not infos or infos[0]["last-delivered-id"] != last or infos[0]["pending"]:
                return False
    return True


GROUPS = {
    "projections.totals": ("leads", "emails", "outcomes"),
    "projections.subscribers": ("emails", "outcomes"),
    "projections.leads": ("leads", "emails", "outcomes"),
    "projections.series": ("leads", "emails", "outcomes"),
}


async def assert_exact(
    client: Any, partition: int = 0, *, only: str = "projections.", within_s: float = DEADLINE_S
) -> Counters:
    """Waits until every group is done, then compares every counter with the scan; returns them.

    `only` is what the names of the groups to look at start with.
    """
    groups = {name: streams for name, streams in GROUPS.items() if name.startswith(only)}
    prefixes = tuple(f"leadstream:{{{partition}}}:p:{name.rpartition('.')[2]}:" for name in groups)

    async def done() -> bool:
        return await all_finished(client, groups, partition)

    await eventually(done, "every projection to finish", within_s)
    wanted = {key: fields for key, fields in (await expected(client, partition)).items() if key.startswith(prefixes)}
    found = await stored(client, partition)
    assert found.keys() == wanted.keys()
    for key, fields in wanted.items():
        assert found[key] == fields, key
    return found
