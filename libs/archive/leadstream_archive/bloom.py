"""Bloom filters: which frames may hold a lead (B. H. Bloom, 1970; double hashing after Kirsch and Mitzenmacher, 2006).

Ten bits a lead and seven hashes: a frame without the lead is read in about one case of a hundred, and a frame
with it is never left out.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

_BITS_EACH = 10
_HASHES = 7
_LEAST_BITS = 64


def _positions(key: bytes, bits: int) -> list[int]:
    digest = blake2b(key, digest_size=16).digest()
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
    return [(first + number * step) % bits for number in range(_HASHES)]


def build(keys: Collection[bytes]) -> bytes:
    """Returns the filter that holds these keys."""
    size = (max(_LEAST_BITS, _BITS_EACH * len(keys)) + 7) // 8
    out = bytearray(size)
    for key in keys:
        for position in _positions(key, size * 8):
            out[position >> 3] |= 1 << (position & 7)
    return bytes(out)


def may_hold(bloom: bytes, key: bytes) -> bool:
    """False: the key was not among those that `build` got."""
    return all(bloom[position >> 3] & (1 << (position & 7)) for position in _positions(key, len(bloom) * 8))
