"""How many more mailers help, and when none does."""

from __future__ import annotations

import pytest

from leadstream_cli.doctor_checks import Finding, Verdict
from leadstream_cli.queue_checks import Behind, MailQueue, groups, mails, rate_within, services

LIMIT = ("rate 50/min", 50 / 60)


@pytest.mark.parametrize(
    ("queue", "verdict", "found", "mend"),
    [
        (MailQueue(0, 0.0, 0.0, 2), Verdict.OK, "nothing waits", ""),
        (MailQueue(7, 0.0, 0.0, 0), Verdict.PROBLEM, "7 wait, no mailers alive", "start leadstream mailer"),
        (MailQueue(7, 0.0, 0.0, 1), Verdict.PROBLEM, "none has ended for a minute", "the mailer's log"),
        (MailQueue(90, 1.0, 4.0, 1), Verdict.OK, "gone in 30s", ""),
        (
            MailQueue(6_000, 10.0, 10.0, 2),
            Verdict.NOTE,
            "10/s come, 10/s go",
            "at this rate 2 more mailers: gone in 10m",
        ),
        (MailQueue(600, 5.0, 4.0, 1), Verdict.NOTE, "5/s come, 4/s go", "at this rate 1 more mailer: gone in 10m"),
        (
            MailQueue(6_000, 10.0, 4.0, 2, limit="rate 8/s", limit_s=8.0),
            Verdict.NOTE,
            "10/s come, 4/s go",
            "at this rate 2 more mailers; then the limit (rate 8/s) binds",
        ),
        (
            MailQueue(500, 1.0, 0.8, 3, *LIMIT, limit_full=True),
            Verdict.NOTE,
            "the limit binds (rate 50/min), they take 10m",
            "more mailers do not help",
        ),
        (
            MailQueue(5_000, 1.0, 0.83, 1, *LIMIT),
            Verdict.NOTE,
            "the limit is nearly used (rate 50/min), they take 1h40m",
            "more mailers do not help",
        ),
    ],
)
def test_what_is_said_of_mails_that_wait(queue: MailQueue, verdict: Verdict, found: str, mend: str) -> None:
    finding = mails(queue)
    assert finding.verdict is verdict
    assert found in finding.found
    assert mend in finding.mend and bool(mend) == bool(finding.mend)


def test_a_group_that_is_behind_is_told_by_whether_somebody_reads() -> None:
    lonely = Behind("fanout", "fanout on leads", 9, 120.0, 0)
    slow = Behind("projections", "projections.totals on outcomes", 9, 120.0, 1)
    assert [(each.verdict, each.mend) for each in groups([lonely, slow])] == [
        (Verdict.PROBLEM, "start leadstream fanout"),
        (Verdict.NOTE, "start another leadstream projections, or look at the log of the one that runs"),
    ]
    assert groups([]) == [Finding("groups", Verdict.OK, "nothing waits for fan-out and projections")]


def test_services_that_nobody_runs_are_noted_with_what_starts_them() -> None:
    assert services([], told=True).found == "fanout, mailer and projections are alive"
    assert "does not tell" in services([], told=False).found
    assert services(["fanout", "mailer"], told=True) == Finding(
        "services", Verdict.NOTE, "nobody is alive of fanout, mailer", "start leadstream fanout, leadstream mailer"
    )


@pytest.mark.parametrize(
    ("ages_s", "at_most", "rate"),
    [([], 4, 0.0), ([0, 1, 2], 4, 0.05), ([0, 1, 70], 4, 2 / 60), ([0, 1, 2, 4], 4, 1.0), ([0, 0, 0, 0], 4, 4.0)],
)
def test_a_rate_is_measured_over_a_minute_or_over_what_was_read(ages_s: list[int], at_most: int, rate: float) -> None:
    now_ms = 1_000_000
    assert rate_within([now_ms - 1000 * age for age in ages_s], now_ms, at_most) == pytest.approx(rate)
