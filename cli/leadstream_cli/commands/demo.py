"""`demo`: the main job on real parts, and the proof that everything due arrived exactly once."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Column, emit_json, layout, printable

if TYPE_CHECKING:
    from leadstream_cli.demo_run import Job, Posted, Report
    from leadstream_cli.inbox import Mail
    from leadstream_cli.system import System

_EXAMPLES = Path("examples")


@click.command()
@click.option("--leads", type=click.Path(path_type=Path), default=_EXAMPLES / "leads.jsonl", show_default=True)
@click.option(
    "--subscribers", type=click.Path(path_type=Path), default=_EXAMPLES / "subscribers.csv", show_default=True
)
@click.option("--rate-limit", default="off", show_default=True, help="As LEADSTREAM_RATE_LIMIT, such as 50/min.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=120.0, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the directory with data and logs.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, nothing else on stdout.")
def demo(leads: Path, subscribers: Path, rate_limit: str, timeout_s: float, keep: bool, as_json: bool) -> None:
    """Send example leads through real parts and check that every mail arrived exactly once.

    Runs a real server, the API, fan-out, mailer, projections and a local inbox; nothing leaves this machine.
    """
    from leadstream_cli.demo_run import Job
    from leadstream_events.limits import parse_rate

    try:
        parse_rate(rate_limit)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate-limit") from None
    directory = Path(tempfile.mkdtemp(prefix="leadstream-demo-"))
    problems: list[str] | None = None
    try:
        job = Job(leads, subscribers, directory, rate_limit, timeout_s)
        problems = asyncio.run(_demo(job, as_json))
    finally:
        if keep or problems:
            say(f"data and logs: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if problems:
        raise Exit(FAILED)


async def _demo(job: Job, as_json: bool) -> list[str]:
    from leadstream_cli.demo_run import run_demo

    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started_s = time.monotonic()
    report = await run_demo(job, _Silent() if as_json else _Printed(), say)
    if as_json:
        emit_json(_as_json(report))
    else:
        _print_end(report, time.monotonic() - started_s)
    for problem in report.problems:
        say(f"WRONG  {problem}")
    return report.problems


def _as_json(report: Report) -> dict[str, Any]:
    from leadstream_cli.demo_run import percentile

    return {
        "ok": not report.problems,
        "problems": report.problems,
        "leads": sum(bool(lead.lead_id) for lead in report.posted),
        "mails": len(report.arrivals),
        "expected_mails": report.expected.mails if report.expected else None,
        "totals": dict(report.counters.totals) if report.counters else {},
        "sent": dict(report.counters.sent) if report.counters else {},
        "p50_ms": round(percentile(report.latencies_s, 0.5) * 1000, 1),
        "p95_ms": round(percentile(report.latencies_s, 0.95) * 1000, 1),
    }


class _Silent:
    """Prints nothing."""

    def ready(self, system: System, seconds: float) -> None:
        pass

    def imported(self, count: int) -> None:
        pass

    def posted(self, number: int, lead: Posted) -> None:
        pass

    def waiting(self, mails: int) -> None:
        pass


class _Printed:
    """Prints each step as it happens."""

    def ready(self, system: System, seconds: float) -> None:
        click.echo(f"start    Redis server, inbox, API, fan-out, mailer, projections: ready in {seconds:.1f} s")
        click.echo(f"         API {system.api_url}, inbox {system.smtp_url}")
        if system.inbox is not None:
            system.inbox.on_arrival = self._mail

    def imported(self, count: int) -> None:
        click.echo(f"import   {count} subscribers")

    def posted(self, number: int, lead: Posted) -> None:
        said = json.loads(lead.line)
        outcome = f"{lead.status} {lead.lead_id}" if lead.lead_id else f"refused: {lead.problem}"
        click.echo(printable(f"lead {number:>3}  {outcome}  {said.get('full_name', '?')} ({said.get('state') or '-'})"))

    def waiting(self, mails: int) -> None:
        click.echo(f"wait     until nothing is left to do; {mails} mails are due")

    def _mail(self, mail: Mail) -> None:
        click.echo(printable(f"mail {mail.number:>3}  to {', '.join(mail.recipients)}: {mail.subject}"))


def _print_end(report: Report, seconds: float) -> None:
    from leadstream_cli.demo_run import percentile
    from leadstream_cli.verification import NOTIFICATION, WELCOME

    expected, counters = report.expected, report.counters
    assert expected is not None and counters is not None  # noqa: S101  a finished report has both
    arrived = [mail.kind for mail in report.arrivals]
    rows = [
        ["leads", counters.totals.get("leads", 0), "", len(expected.leads)],
        ["mails sent", counters.totals.get("sent", 0), len(arrived), expected.mails],
        *(
            [f"  {kind}", counters.totals.get(f"sent:{kind}", 0), arrived.count(kind), due]
            for kind, due in ((NOTIFICATION, expected.notifications), (WELCOME, len(expected.welcome)))
        ),
        *(
            [f"    {due.recipient}", counters.sent.get(due.recipient, 0), _at(report, due.recipient), due.count]
            for due in expected.subscribers
        ),
    ]
    titles = (Column("", "counter"), *(Column("", name, right=True) for name in ("leadstream", "inbox", "expected")))
    click.echo()
    for line in layout([[str(cell) for cell in row] for row in rows], titles, None):
        click.echo(line)
    p50, p95 = (percentile(report.latencies_s, share) * 1000 for share in (0.5, 0.95))
    click.echo(f"\nPOST to inbox: p50 {p50:.0f} ms, p95 {p95:.0f} ms over {len(report.latencies_s)} mails")
    if not report.problems:
        click.echo(f"OK: everything that was due arrived exactly once, every counter fits ({seconds:.1f} s)")


def _at(report: Report, recipient: str) -> int:
    from leadstream_cli.verification import NOTIFICATION

    return sum(mail.kind == NOTIFICATION and mail.recipient == recipient for mail in report.arrivals)
