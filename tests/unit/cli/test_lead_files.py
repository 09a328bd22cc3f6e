"""A file of leads: JSON in its shapes, or one ADF document as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_cli.commands.leads import is_xml, read_leads
from leadstream_cli.main import run


@pytest.mark.parametrize(
    "raw", [b"<?xml version='1.0'?>\n<adf/>\n", b"\xef\xbb\xbf  <adf>\n</adf>", b"<?ADF VERSION '1.0'?>\n<adf></adf>"]
)
def test_a_document_is_one_lead_whatever_its_lines(raw: bytes) -> None:
    (document,) = read_leads(raw)
    assert is_xml(document)
    assert document == raw.removeprefix(b"\xef\xbb\xbf").strip()


def test_json_is_no_document() -> None:
    leads = read_leads(b'{"full_name":"<b>"}\n{"full_name":"b"}\n')
    assert len(leads) == 2
    assert not any(map(is_xml, leads))


@pytest.mark.parametrize("raw", [b"prospect: Dana", b'{"full_name": "Dana"}', "<?adf?><adf/>".encode("utf-16")])
def test_a_file_that_is_named_after_adf_and_is_none_is_refused_before_anything_is_sent(
    tmp_path: Path, raw: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lead.adf"
    path.write_bytes(raw)
    assert run(["lead", "submit", str(path), "--url", "http://127.0.0.1:1"]) == 1
    assert f"{path}: is no ADF document" in capsys.readouterr().err
