"""What another implementation (dkimpy) makes of the signatures of a mail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dkim

from leadstream_mail.dkim import DkimKey
from leadstream_mail.dkim_keys import record_of


def verify(mail: bytes, keys: Sequence[DkimKey]) -> list[bool]:
    """What dkimpy makes of each signature of a mail, with the records that we publish."""
    records = {f"{key.selector}._domainkey.{key.domain}.".encode(): record_of(key.key).encode() for key in keys}

    def dns(name: bytes, timeout: float = 5) -> bytes | None:
        return records.get(name)

    verifier = dkim.DKIM(mail)
    count = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
    return [_holds(verifier, index, dns) for index in range(count)]


def _holds(verifier: dkim.DKIM, index: int, dns: Callable[[bytes], bytes | None]) -> bool:
    try:
        return bool(verifier.verify(idx=index, dnsfunc=dns))
    except dkim.DKIMException:  # how it says that the body was changed
        return False
