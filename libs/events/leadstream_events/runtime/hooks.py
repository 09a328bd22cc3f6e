"""What the runtime tells metrics and tests. Every metric name of the runtime stands here."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge

READ = Counter("leadstream_entries_read_total", "Entries handed to a group's consumer", ["group", "how"])
SETTLED = Counter("leadstream_entries_settled_total", "Entries finished or parked", ["group", "verb"])
APPENDED = Counter("leadstream_events_appended_total", "Events stored by settlements that took effect", ["type"])
LOST = Counter("leadstream_settlements_lost_total", "Settlements of entries that were not ours any more", ["group"])
DEAD_LETTERS = Counter("leadstream_dead_letters_total", "Entries given up", ["group", "cause"])
RECONNECTS = Counter("leadstream_redis_reconnects_total", "Times work went on after Redis had been gone", ["group"])
TROUBLE = Counter("leadstream_redis_trouble_total", "Times Redis could not take work", ["group", "cause"])
RESTARTS = Counter("leadstream_consumer_restarts_total", "Loops restarted by the watchdog", ["group"])
HEALTHY = Gauge("leadstream_consumer_healthy", "1 while the consumer can work", ["group"])
IN_FLIGHT = Gauge("leadstream_entries_in_flight", "Entries being worked on", ["group"])


@lru_cache(maxsize=1024)
def series(counter: Counter, *labels: str) -> Counter:
    """The counter with these labels. What is counted for every entry keeps it: looking it up costs more than counting.

    Only for counters whose labels come from closed sets and that are never cleared.
    """
    return counter.labels(*labels)


class Hooks:
    """Observes one consumer. Tests subclass it to await what happens; methods must return at once."""

    def __init__(self, group: str) -> None:
        self.group = group
        self._in_flight = IN_FLIGHT.labels(group)
        HEALTHY.labels(group).set(1)
        for counter in (RECONNECTS, RESTARTS):  # a series that begins at 1 shows Prometheus no increase
            counter.labels(group)

    def read(self, how: str, count: int) -> None:
        """`how`: new, due or claimed."""
        series(READ, self.group, how).inc(count)

    def settled(self, verb: str, count: int) -> None:
        """Settlements that took effect."""
        series(SETTLED, self.group, verb).inc(count)

    def appended(self, event_type: str, count: int) -> None:
        """Events that settlements stored."""
        series(APPENDED, event_type).inc(count)

    def reconnected(self) -> None:
        """Redis, which was gone, takes work again."""
        RECONNECTS.labels(self.group).inc()

    def lost(self, count: int) -> None:
        """Settlements refused, because somebody else had finished the entry."""
        if count:
            LOST.labels(self.group).inc(count)

    def dead(self, cause: str) -> None:
        """An entry became a dead letter."""
        DEAD_LETTERS.labels(self.group, cause).inc()

    def trouble(self, cause: str) -> None:
        """Redis could not take work; the consumer backs off."""
        TROUBLE.labels(self.group, cause).inc()
        HEALTHY.labels(self.group).set(0)

    def recovered(self) -> None:
        """Redis takes work again."""
        HEALTHY.labels(self.group).set(1)

    def restarted(self) -> None:
        """The watchdog restarted the loop."""
        RESTARTS.labels(self.group).inc()
        HEALTHY.labels(self.group).set(0)

    def in_flight(self, count: int) -> None:
        """How many deliveries are being worked on."""
        self._in_flight.set(count)
