"""Commands that change subscribers and suppressions, and those that look at the set-up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leadstream_cli.inbox import Inbox, listen, port_of
from leadstream_events.settings import Settings
from tests.integration.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "subscribers.csv"


def results(out: str) -> list[str]:
    return [line.partition(": ")[2] for line in out.splitlines()]


def test_an_import_again_changes_nothing(cli: Cli) -> None:
    assert results(cli("subscribers", "import", str(EXAMPLES)).out) == ["added"] * 8
    assert results(cli("subscribers", "import", str(EXAMPLES)).out) == ["unchanged"] * 8
    assert len(cli("subscribers", "list", "--json").json) == 8


def test_an_import_takes_good_lines_names_bad_ones_and_fails(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("email,name,leads_purchased\nann@example.com,Ann,5\nnobody,Bob,\ncara@example.com,Cara,many\n")
    result = cli("subscribers", "import", str(path), code=1)
    first, second, third = results(result.out)
    assert (first, second.split(":")[0], third.split(":")[0]) == ("added", "email", "leads_purchased")
    path.write_text("email,name,leads_purchased\nANN@example.com,Ann Other,7\n")
    assert results(cli("subscribers", "import", str(path)).out) == ["changed"]
    (row,) = cli("subscribers", "list", "--json", "--pii").json
    assert (row["name"], row["leads_purchased"], row["leads_remaining"]) == ("Ann Other", 7, 7)


def test_a_subscriber_is_added_changed_and_removed(cli: Cli) -> None:
    added = cli("subscribers", "add", "ann@example.com", "--name", "Ann", "--state", "CA,wa", "--json").json
    assert added["states"] == ["CA", "WA"]
    again = cli("subscribers", "add", "ANN@example.com", "--name", "Ann", code=1)
    assert "another subscriber has this address" in again.err
    changed = cli("subscribers", "change", "ann@example.com", "--inactive", "--leads-purchased", "3", "--json").json
    assert (changed["active"], changed["leads_purchased"], changed["states"]) == (False, 3, ["CA", "WA"])
    changed = cli("subscribers", "change", added["id"], "--no-limit", "--all-states", "--json").json
    assert (changed["leads_purchased"], changed["states"]) == (None, [])
    assert "nothing to change" in cli("subscribers", "change", added["id"], code=2).err
    cli("subscribers", "remove", added["id"], "--yes")
    assert cli("subscribers", "list", "--json").json == []
    assert "no subscriber" in cli("subscribers", "remove", added["id"], "--yes", code=1).err


def test_a_bad_value_names_its_field(cli: Cli) -> None:
    assert "email: " in cli("subscribers", "add", "nobody", "--name", "Ann", code=1).err
    assert "states" in cli("subscribers", "add", "a@example.com", "--name", "A", "--state", "Texas", code=1).err


def test_what_removes_asks_first_and_no_answer_is_no(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    added = cli("subscribers", "add", "ann@example.com", "--name", "Ann", "--json").json
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        cli("subscribers", "remove", added["id"], code=130)
    assert len(cli("subscribers", "list", "--json").json) == 1


def test_suppressions_are_added_listed_lifted_and_imported(cli: Cli, tmp_path: Path) -> None:
    cli("suppressions", "add", "ann@example.com", "--reason", "asked by phone", "--days", "2")
    (row,) = cli("suppressions", "list", "--json").json
    assert (row["address"], row["reason"], row["holds"]) == ("a***@example.com", "asked by phone", True)
    dry = cli("suppressions", "remove", "ANN@example.com", "--dry-run", "--json")
    assert (dry.json, "nothing was changed" in dry.err) == ({"would_release": 1, "reason": "asked by phone"}, True)
    assert len(cli("suppressions", "list", "--json").json) == 1
    cli("suppressions", "remove", "ANN@example.com", "--yes")
    assert "not suppressed" in cli("suppressions", "remove", "ann@example.com", "--dry-run", code=1).err
    assert "not suppressed" in cli("suppressions", "remove", "ann@example.com", "--yes", code=1).err
    path = tmp_path / "addresses.txt"
    path.write_text("# from the old system\nbob@example.com\nnobody\n\ncara@example.com\n")
    rows = cli("suppressions", "import", str(path), "--json", code=1).json
    assert [(row["line"], row["result"]) for row in rows] == [(2, "suppressed"), (3, "bad"), (5, "suppressed")]
    assert len(cli("suppressions", "list", "--json").json) == 2


def test_config_shows_what_is_in_force_where_from_and_no_secret(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_SMTP_URL", "smtps://me:hunter2@mail.example.com")
    monkeypatch.setenv("LEADSTREAM_SMTP_PASSWORD", "hunter3")
    result = cli("config")
    assert "hunter" not in result.out + cli("config", "--json").out
    rows = {row["setting"]: row for row in cli("config", "--json").json}
    assert set(rows) == {f"LEADSTREAM_{name.upper()}" for name in Settings.model_fields}
    assert rows["LEADSTREAM_SMTP_URL"]["value"] == "smtps://me:***@mail.example.com"
    assert (rows["LEADSTREAM_SMTP_URL"]["source"], rows["LEADSTREAM_LEASE"]["source"]) == ("environment", "default")


@pytest.mark.parametrize("command", ["config", "mailer", "up", "preview notification"])
def test_a_wrong_setting_ends_with_2_and_one_line_that_names_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("LEADSTREAM_RATE_LIMIT", "fifty a minute")
    result = cli(*command.split(), code=2)
    assert result.out == ""
    assert result.err.startswith("leadstream: LEADSTREAM_RATE_LIMIT: must be off, or a number")
    assert result.err.count("\n") == 1


def test_doctor_finds_a_server_that_may_forget_and_says_how_to_mend_it(
    cli: Cli, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    monkeypatch.setenv("LEADSTREAM_SMTP_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("LEADSTREAM_PARTITIONS", "2")
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.hset("leadstream:{meta}", "partitions", 1)
        try:
            result = cli("doctor", "--json", code=3)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    findings = {row["check"]: row for row in result.json}
    wrong = {name for name, row in findings.items() if row["verdict"] == "problem"}
    # The servers of tests run without fsync, which the doctor does not like either.
    assert wrong == {"eviction policy", "partitions", "smtp", "persistence"}
    assert all(findings[name]["mend"] for name in wrong)
    assert "noeviction" in findings["eviction policy"]["mend"]


def test_doctor_reports_a_dead_redis_and_a_wrong_setting_as_findings(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", "redis://127.0.0.1:1/0")
    assert "nothing answers there" in cli("doctor", code=3).out
    monkeypatch.setenv("LEADSTREAM_RETRIES", "many")
    assert "LEADSTREAM_RETRIES" in cli("doctor", code=3).out


def test_preview_shows_the_mail_of_a_sample_lead(cli: Cli) -> None:
    assert cli("preview", "notification").out.startswith("Subject: New lead: Dana Example")
    assert "<html" in cli("preview", "welcome", "--html").out.lower()
    assert set(cli("preview", "welcome", "--json").json) == {"subject", "text", "html"}
    assert "no lead" in cli("preview", "welcome", "--lead-id", "nothing", code=1).err


def test_send_test_says_what_the_server_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    ready, port, box, loops = threading.Event(), [0], Inbox(), list[asyncio.AbstractEventLoop]()

    async def serve() -> None:
        server = await listen(box)
        port[0] = port_of(server)
        loops.append(asyncio.get_running_loop())
        ready.set()
        async with server:
            await box.wait_for(lambda inbox: len(inbox.mails) == 1)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    monkeypatch.setenv("LEADSTREAM_SMTP_URL", f"smtp://127.0.0.1:{port[0]}")
    result = cli("send-test", "ann@example.com", "--json").json
    thread.join(10)
    assert (result["accepted"], result["code"], result["to"]) == (True, 250, "a***@example.com")
    assert box.mails[0].recipients == ("ann@example.com",)
    monkeypatch.setenv("LEADSTREAM_SMTP_URL", "smtp://127.0.0.1:1")
    assert cli("send-test", "ann@example.com", "--json", code=1).json["phase"] == "connect"
    assert "ADDRESS" in cli("send-test", "nobody", code=2).err
