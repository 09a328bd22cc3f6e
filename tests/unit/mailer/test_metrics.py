"""A mail given up counts under a class that is there from the start, so that the first of them is an increase."""

from __future__ import annotations

import re
from pathlib import Path

from leadstream_mailer.ending import POISON
from leadstream_mailer.metrics import CLASSES

ROOT = Path(__file__).resolve().parents[3]


def test_every_cause_for_which_a_mail_is_given_up_is_a_known_class() -> None:
    paths = [path for folder in ("libs/mail", "services/mailer") for path in (ROOT / folder).rglob("*.py")]
    sources = [path.read_text() for path in paths]
    raised = {cause for text in sources for cause in re.findall(r'raise Permanent\("(\w+)"', text)}
    assert len(raised) > 4
    assert raised | {POISON} <= {str(known) for known in CLASSES}
