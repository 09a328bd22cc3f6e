"""DKIM signatures (RFC 6376): rsa-sha256, and ed25519-sha256 (RFC 8463) beside it. Pure.

Both canonicalizations are relaxed, so that a relay may fold headers anew and strip blanks at line ends. The whole body
is signed (no `l=`). Headers that a recipient sees or acts on are signed once more than they occur, so that nobody can
add a second one (section 8.15). A signature proves who sent the mail, and not that anybody wants it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

# In this order; those that a mail lacks are signed as missing if they are oversigned.
SIGNED = (
    *("from", "reply-to", "to", "subject", "date", "message-id", "mime-version", "content-type"),
    *("content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post", "feedback-id", "auto-submitted"),
    *("x-leadstream-mail", "x-leadstream-lead"),
)
OVERSIGNED = ("from", "reply-to", "to", "cc", "subject", "date", "message-id")

_BLANKS = re.compile(rb"[ \t]+")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_LINE = 70


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A private key, and where its public half is published: `<selector>._domainkey.<domain>`."""

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey

    @property
    def algorithm(self) -> str:
        """The tag `a=`."""
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, data: bytes) -> bytes:
        """Signs the canonical headers (RFC 6376 section 3.7; for Ed25519 their hash, RFC 8463 section 3)."""
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(data, PKCS1v15(), SHA256())
        return self.key.sign(hashlib.sha256(data).digest())


def signatures(mail: bytes, keys: Sequence[DkimKey], at: int) -> bytes:
    """Returns one DKIM-Signature header per key, to stand before the mail; `at` is the time in seconds for `t=`.

    The mail has CRLF line ends and is signed as it follows DATA, before dot-stuffing. Equal input gives equal bytes.
    """
    head, _, body = mail.partition(b"\r\n\r\n")
    headers = _headers(head)
    body_hash = base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
    names, signed = _chosen(headers)
    return b"".join(_signature(key, names, signed, body_hash, at) for key in keys)


def _headers(head: bytes) -> dict[str, list[bytes]]:
    """Relaxed header lines (section 3.4.2) by their names in lower case, in their order."""
    found: dict[str, list[bytes]] = {}
    for line in _FOLD.sub(b"", head).split(b"\r\n"):
        name, _, value = line.partition(b":")
        low = name.strip().lower()
        found.setdefault(low.decode("latin-1"), []).append(low + b":" + _BLANKS.sub(b" ", value).strip(b" "))
    return found


def _chosen(headers: dict[str, list[bytes]]) -> tuple[list[str], bytes]:
    """The names for `h=`, and the header lines that they stand for: of several equal names the last comes first."""
    names = [name for name in SIGNED for _ in headers.get(name, ())]
    lines = [line for name in SIGNED for line in reversed(headers.get(name, ()))]
    return [*names, *OVERSIGNED], b"".join(line + b"\r\n" for line in lines)


def _relaxed_body(body: bytes) -> bytes:
    """Section 3.4.4: runs of blanks are one, none stand at line ends, no empty lines at the end."""
    canonical = _BLANKS.sub(b" ", body).replace(b" \r\n", b"\r\n").rstrip(b"\r\n ")
    return canonical + b"\r\n" if canonical else b""


def _signature(key: DkimKey, names: Sequence[str], signed: bytes, body_hash: str, at: int) -> bytes:
    tags = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain}; s={key.selector};",
        f"t={at}; bh={body_hash};",
        f"h={_folded(names)};",
        "b=",
    )
    value = "\r\n ".join(tags)
    own = b"dkim-signature:" + _BLANKS.sub(b" ", _FOLD.sub(b"", value.encode()))
    proof = base64.b64encode(key.sign(signed + own)).decode()
    lines = "\r\n ".join(proof[at : at + _LINE] for at in range(0, len(proof), _LINE))
    return f"DKIM-Signature: {value}{lines}\r\n".encode()


def _folded(names: Sequence[str]) -> str:
    """The names with colons between, folded before a line grows too long."""
    out, column = "", 2
    for name in names:
        if out:
            out += ":"
            if column + len(name) > _LINE:
                out, column = out + "\r\n ", 0
        out += name
        column += len(name) + 1
    return out
