"""Each subscriber's format by the API, what it refuses, and previews of every format."""

from __future__ import annotations

import pytest
from defusedxml.ElementTree import fromstring

from leadstream_events.settings import Settings
from leadstream_mail.adf.rules import violations
from tests.integration.api.conftest import api_client

DRAFT = {"email": "crm@example.com", "name": "CRM"}


async def test_a_format_is_html_unless_set_and_can_be_changed(settings: Settings) -> None:
    async with api_client(settings) as api:
        added = (await api.post("/subscribers", json=DRAFT)).json()
        assert added["format"] == "html"
        path = f"/subscribers/{added['id']}"
        assert (await api.patch(path, json={"format": "adf"})).json()["format"] == "adf"
        assert (await api.patch(path, json={"name": "Other"})).json()["format"] == "adf"
        for wrong in ("pdf", None):
            answer = await api.patch(path, json={"format": wrong})
            assert answer.status_code == 422
            assert [error["field"] for error in answer.json()["errors"]] == ["format"]


@pytest.mark.parametrize("form", ["html", "text", "adf"])
async def test_a_preview_shows_the_format(settings: Settings, form: str) -> None:
    async with api_client(settings) as api:
        answer = await api.get("/previews/notification", params={"format": form})
        assert answer.status_code == 200
        assert ("<html" in answer.text) is (form == "html")
        if form == "adf":
            assert violations(fromstring(answer.text.partition("\n\n")[2])) == []


async def test_a_format_that_is_none_or_of_a_welcome_mail_is_a_400_that_names_it(settings: Settings) -> None:
    async with api_client(settings) as api:
        for path in ("/previews/notification?format=pdf", "/previews/welcome?format=adf"):
            answer = await api.get(path)
            assert answer.status_code == 400
            assert [error["field"] for error in answer.json()["errors"]] == ["format"]
