"""What stands in an event in the place of a lead that is sealed under a key of its own (`sealing.py`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Sealed(BaseModel):
    """Personal data that only the lead's key opens, base64 of nonce, ciphertext and tag; without its key, erased."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sealed: str


class Locked(Sealed):
    """The same where the lead's key is there, but wrapped by a key-encryption key (`kek`) that is not at hand.

    Never stored: it is what opening gives back.
    """

    kek: str
