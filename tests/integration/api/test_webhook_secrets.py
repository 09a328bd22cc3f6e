"""What providers sign or log in with may stand in files."""

from __future__ import annotations

from pathlib import Path

from leadstream_events.settings import Settings
from tests.integration.api.webhook_rig import providers


async def test_secrets_may_stand_in_files(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "postmark").write_text("a password in a file\n")
    (tmp_path / "mailgun").write_text("key-of-mailgun\n")
    more = {
        "webhook_postmark_token": None,
        "webhook_postmark_token_file": tmp_path / "postmark",
        "webhook_mailgun_key": None,
        "webhook_mailgun_key_file": tmp_path / "mailgun",
    }
    async with providers(settings, **more) as there:
        assert (await there.mark({}, password="a password in a file")).status_code == 200
        assert (await there.gun({"id": "1", "event": "opened"})).status_code == 200
