"""DKIM keys from the settings, new ones, and the DNS records that publish them."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import PREFIX, Settings
from leadstream_mail.addresses import wire_domain
from leadstream_mail.dkim import DkimKey

RSA_BITS = 2048
# RFC 8301 section 3.2: verifiers need not accept less.
_LEAST_BITS = 1024
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)
# One character string of a TXT record holds 255 octets (RFC 1035 section 3.3).
_TXT = 255


def keys_of(settings: Settings) -> tuple[DkimKey, ...]:
    """Returns the keys that are set up, or none. `ConfigurationError` names the setting that is wrong."""
    domain = settings.dkim_domain or settings.mail_from.rpartition("@")[2]
    found = (
        _key(domain, settings.dkim_selector, settings.dkim_key_file, "DKIM", RSAPrivateKey),
        _key(domain, settings.dkim_ed25519_selector, settings.dkim_ed25519_key_file, "DKIM_ED25519", Ed25519PrivateKey),
    )
    return tuple(key for key in found if key is not None)


def _key(
    domain: str,
    selector: str | None,
    path: Path | None,
    name: str,
    kind: type[RSAPrivateKey] | type[Ed25519PrivateKey],
) -> DkimKey | None:
    if selector is None and path is None:
        return None
    file_setting, selector_setting = f"{PREFIX}{name}_KEY_FILE", f"{PREFIX}{name}_SELECTOR"
    if selector is None or path is None:
        missing = selector_setting if selector is None else file_setting
        raise ConfigurationError(f"{missing}: is needed beside the other one; `leadstream dkim new-key` makes both")
    if not is_selector(selector):
        raise ConfigurationError(f"{selector_setting}: must be a name as in DNS, such as 2026a")
    key = _load(path, file_setting)
    if not isinstance(key, kind):
        wanted = "an RSA" if kind is RSAPrivateKey else "an Ed25519"
        raise ConfigurationError(f"{file_setting}: {path} does not hold {wanted} key")
    if isinstance(key, RSAPrivateKey) and key.key_size < _LEAST_BITS:
        raise ConfigurationError(f"{file_setting}: the key has {key.key_size} bits; take {RSA_BITS}")
    return DkimKey(wire_domain(domain), selector, key)


def is_selector(text: str) -> bool:
    """True for a name that can be a selector (RFC 6376 section 3.1)."""
    return len(text) <= 63 and _SELECTOR.fullmatch(text) is not None


def _load(path: Path, setting: str) -> object:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{setting}: {path} is not a private key in PEM form without a password") from None


def new_key(*, ed25519: bool) -> RSAPrivateKey | Ed25519PrivateKey:
    """Makes a key; RSA with 2048 bits, the most that fits into DNS answers everywhere."""
    return Ed25519PrivateKey.generate() if ed25519 else generate_private_key(65_537, RSA_BITS)


def pem_of(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    """The private key as a file holds it (PKCS #8)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def record_of(key: RSAPrivateKey | Ed25519PrivateKey) -> str:
    """The text of the TXT record that publishes the key (RFC 6376 section 3.6.1; RFC 8463 section 4 for Ed25519)."""
    public = key.public_key()
    if isinstance(key, RSAPrivateKey):
        kind, form = "rsa", serialization.PublicFormat.SubjectPublicKeyInfo
        raw = public.public_bytes(serialization.Encoding.DER, form)
    else:
        kind = "ed25519"
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"v=DKIM1; k={kind}; p={base64.b64encode(raw).decode()}"


def zone_line(selector: str, domain: str, record: str) -> str:
    """The record as a line of a zone file, cut into strings that DNS can hold."""
    strings = " ".join(f'"{record[at : at + _TXT]}"' for at in range(0, len(record), _TXT))
    return f"{selector}._domainkey.{domain}. IN TXT ( {strings} )"
