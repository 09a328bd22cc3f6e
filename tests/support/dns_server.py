"""A DNS server of the test's own on loopback: TXT records from a mapping, over UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

# A TXT record's strings hold 255 octets at most.
_STRING = 255


class _Server(asyncio.DatagramProtocol):
    def __init__(self, records: Mapping[str, list[str]]) -> None:
        self._records = {name.rstrip(".").lower(): texts for name, texts in records.items()}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        question = query.question[0]
        name = question.name.to_text().rstrip(".").lower()
        if name not in self._records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.TXT and self._records[name]:
            answer.answer.append(
                dns.rrset.from_text(question.name, 60, "IN", "TXT", *map(_quoted, self._records[name]))
            )
        self._transport.sendto(answer.to_wire(max_size=65_535), addr)


def _quoted(text: str) -> str:
    return " ".join(f'"{text[at : at + _STRING]}"' for at in range(0, len(text), _STRING))


@asynccontextmanager
async def dns_server(records: Mapping[str, list[str]]) -> AsyncIterator[str]:
    """Yields `HOST:PORT`."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Server(records), local_addr=("127.0.0.1", 0))
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()
