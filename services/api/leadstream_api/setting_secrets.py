"""A secret that stands in a setting or in the file that another setting names."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from leadstream_events.errors import ConfigurationError
from leadstream_events.secret_files import read_secret
from leadstream_events.settings import PREFIX


def secret_setting(value: SecretStr | None, path: Path | None, name: str) -> bytes | None:
    """Returns the secret, None without one; `ConfigurationError` names the setting that is empty or cannot be read."""
    if value is not None:
        found = value.get_secret_value().strip().encode()
    elif path is not None:
        return read_secret(path, f"{PREFIX}{name}_FILE").encode()
    else:
        return None
    if not found:
        raise ConfigurationError(f"{PREFIX}{name}: is empty")
    return found
