"""Makes a server that runs in cluster mode a whole cluster."""

from __future__ import annotations

from leadstream_events.redis_client import connect
from tests.support.waiting import eventually


async def serve_every_slot(url: str) -> None:
    """A cluster of one node: commands over several slots are refused as ever."""
    client = connect(url, timeout_s=5.0)
    await client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")

    async def up() -> bool:
        return b"cluster_state:ok" in await client.execute_command("CLUSTER", "INFO")

    await eventually(up, "the cluster to be up")
    await client.aclose()
