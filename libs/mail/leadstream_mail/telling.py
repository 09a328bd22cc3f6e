"""What an outcome event tells counters and logs: its type, its ids and its class. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from leadstream_events.setting_values import OnUnknown
from leadstream_mail.attempt_rules import OUTCOME_UNKNOWN


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome as it was stored. `why`: the class of a failure, the reason of a skip; '' for none."""

    type: str
    lead_id: str
    email_id: str
    kind: str
    why: str = ""

    @property
    def given_up(self) -> str | None:
        """Why no worker will try again, so that a person has to look; None for any other outcome."""
        if self.type == "EmailOutcomeUnknown" and self.why == OnUnknown.HOLD:
            return OUTCOME_UNKNOWN
        return self.why if self.type == "EmailFailed" else None


def told_of(fields: Mapping[str, str]) -> Told:
    """What the fields of an outcome's entry tell."""
    data = msgspec.json.decode(fields["data"])
    return Told(fields["type"], fields["subject"], data["email_id"], data["kind"], _why(data))


def _why(data: Mapping[str, object]) -> str:
    """From closed sets: for a refusal the SMTP cause, since codes are the server's own choice."""
    failure, cause = data.get("failure"), str(data.get("cause", ""))
    if isinstance(failure, dict) and (not cause or cause.startswith("smtp_")):
        return str(failure.get("cause", ""))
    return cause or str(data.get("reason", "") or data.get("policy", ""))
