"""The contract's rules, worked out from plain text."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_cli.demo_run import clean_environment, percentile
from leadstream_cli.example_rules import expect, read_lines, read_plain_subscribers
from leadstream_events.errors import LeadstreamError

CSV = """email,name,active,states,leads_purchased
All@example.com,All,true,,
west@example.com,West,true,CA WA,
two@example.com,Two,true,,2
none@example.com,None,true,,0
closed@example.com,Closed,false,,
"""
LEADS = [("l1", b'{"state": "CA"}'), ("l2", b'{"state": "ny"}'), ("l3", b"{}")]


def test_states_quotas_and_activity_decide_who_is_owed_what(tmp_path: Path) -> None:
    path = tmp_path / "subscribers.csv"
    path.write_text(CSV)
    expected = expect(read_plain_subscribers(path), LEADS)
    assert {due.recipient: (sorted(due.leads), due.count) for due in expected.subscribers} == {
        "all@example.com": (["l1", "l2", "l3"], 3),
        "west@example.com": (["l1"], 1),
        "two@example.com": (["l1", "l2", "l3"], 2),
        "none@example.com": (["l1", "l2", "l3"], 0),
        "closed@example.com": ([], 0),
    }
    assert expected.mails == 6 + 3


def test_absent_files_are_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(LeadstreamError, match=r"leads\.jsonl.*--leads"):
        read_lines(tmp_path / "leads.jsonl")
    with pytest.raises(LeadstreamError, match=r"subscribers\.csv.*--subscribers"):
        read_plain_subscribers(tmp_path / "subscribers.csv")


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([7.0], 0.95)) == (50.0, 95.0, 7.0)
    assert percentile([], 0.5) == 0.0


def test_the_demo_takes_where_spans_go_from_the_environment_and_no_other_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADSTREAM_OTEL_EXPORTER", "console")
    monkeypatch.setenv("LEADSTREAM_SMTP_URL", "smtp://mail.example.com")
    ours = {name: value for name, value in clean_environment(tmp_path, "off").items() if name.startswith("LEADSTREAM_")}
    assert ours.pop("LEADSTREAM_CONFIG").startswith(str(tmp_path))
    assert ours == {"LEADSTREAM_RATE_LIMIT": "off", "LEADSTREAM_OTEL_EXPORTER": "console"}
