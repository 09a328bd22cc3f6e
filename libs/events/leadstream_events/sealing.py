"""Seals a lead's personal data under a key of its own, so that destroying the key erases it wherever it lies: pure.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce; the additional data binds a sealed value to its lead and its
field. A lead's data key is wrapped by a key-encryption key from a file, or stored as it is when there is none. Several
wrapped keys may stand beside each other, blanks between: a lead that came twice with two bodies has two.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leadstream_events.errors import Malformed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LEAD = "lead"
# Stands where a lead's key stood: whoever stores the lead later, from a spool or a file, knows that it was erased.
ERASED = "erased"
KEY_BYTES = 32
_NONCE_BYTES = 12
_BARE = "-"
_WRAP = b"leadstream key"
_KEK_ID = re.compile(r"[A-Za-z0-9_.]{1,40}")


class KeyMissing(Exception):
    """A data key is wrapped by a key-encryption key that is not at hand; `kek` names it."""

    def __init__(self, kek: str) -> None:
        super().__init__(f"the key-encryption key {kek!r} is not in LEADSTREAM_ENCRYPTION_KEYS_FILE")
        self.kek = kek


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Key-encryption keys by id, the one that wraps new keys first. Empty: data keys are stored unwrapped."""

    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def newest(self) -> str:
        """The id of the key that wraps; `-` when there is none."""
        return next(iter(self.keys), _BARE)


def parse_keys(text: str) -> KeyRing:
    """Reads the keys file: lines `<id> <base64 of 32 bytes>`, the newest first, `#` begins a comment.

    ValueError names the line and what is wrong with it, and never quotes a key.
    """
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not _KEK_ID.fullmatch(words[0]):
            raise ValueError(f"line {number} must be `<id> <base64 of 32 bytes>`, the id of letters, digits, _ and .")
        try:
            key = base64.b64decode(words[1], validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(f"line {number}: the key must be {KEY_BYTES} bytes in base64")
        if words[0] in found:
            raise ValueError(f"line {number}: the id {words[0]} stands there twice")
        found[words[0]] = key
    if not found:
        raise ValueError("holds no key: `leadstream encryption new-key` makes one")
    return KeyRing(found)


def _aead(key: bytes) -> AESGCM:
    # Here and not above: the library takes longer to load than most commands run, and most of them seal nothing.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def new_key() -> bytes:
    """A fresh data key."""
    return os.urandom(KEY_BYTES)


def _encrypt(key: bytes, plain: bytes, bound_to: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + _aead(key).encrypt(nonce, plain, bound_to)).decode()


def _decrypt(key: bytes, sealed: str, bound_to: bytes) -> bytes | None:
    """None when it was sealed under another key, for another place, or was changed since."""
    from cryptography.exceptions import InvalidTag

    try:
        raw = base64.b64decode(sealed, validate=True)
        return _aead(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        return None


def wrap(key: bytes, lead_id: str, ring: KeyRing) -> str:
    """A data key as it is stored: `<key-encryption key id>:<base64>`."""
    newest = ring.newest
    if newest == _BARE:
        return f"{_BARE}:{base64.b64encode(key).decode()}"
    return f"{newest}:{_encrypt(ring.keys[newest], key, _WRAP + lead_id.encode())}"


def wrapped_by(stored: str) -> tuple[str, ...]:
    """The ids of the key-encryption keys that a stored value needs; empty for an erased one."""
    return () if stored == ERASED else tuple(part.partition(":")[0] for part in stored.split())


def unwrap(stored: str, lead_id: str, ring: KeyRing) -> tuple[bytes, ...]:
    """The data keys of a lead; empty for an erased one. `KeyMissing` for one that this ring cannot open."""
    found = []
    for part in stored.split() if stored != ERASED else ():
        kek, _, text = part.partition(":")
        if kek != _BARE and kek not in ring.keys:
            raise KeyMissing(kek)
        try:
            key = (
                base64.b64decode(text, validate=True)
                if kek == _BARE
                else _decrypt(ring.keys[kek], text, _WRAP + lead_id.encode())
            )
        except (binascii.Error, ValueError):
            key = None
        if key is None or len(key) != KEY_BYTES:
            raise KeyMissing(kek)
        found.append(key)
    return tuple(found)


def rewrap(stored: str, lead_id: str, ring: KeyRing) -> str:
    """The same data keys wrapped by the newest key; `KeyMissing` as `unwrap`."""
    if stored == ERASED:
        return stored
    return " ".join(wrap(key, lead_id, ring) for key in unwrap(stored, lead_id, ring))


def seal(key: bytes, lead_id: str, plain: bytes, name: str = LEAD) -> str:
    """Seals the field `name` of a lead: base64 of nonce, ciphertext and tag."""
    return _encrypt(key, plain, f"{lead_id}\x00{name}".encode())


def open_sealed(keys: Sequence[bytes], lead_id: str, sealed: str, name: str = LEAD) -> bytes:
    """Opens it with whichever of the keys fits; `Malformed` when none does: it was changed, or is another lead's."""
    bound_to = f"{lead_id}\x00{name}".encode()
    for key in keys:
        plain = _decrypt(key, sealed, bound_to)
        if plain is not None:
            return plain
    raise Malformed("bad_seal", "the sealed data does not fit the lead's key")


def sealed_in(data: Any) -> str | None:
    """The sealed text in JSON data of an event, if its lead is sealed."""
    lead = data.get(LEAD) if isinstance(data, dict) else None
    found = lead.get("sealed") if isinstance(lead, dict) else None
    return found if isinstance(found, str) else None
