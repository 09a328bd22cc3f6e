"""`make bench`: the micro-benchmarks, the reading commands, and, where a yardstick is given, rounds against its peers.

`BENCH_YARDSTICK` names a folder with a `bench.py` that runs black-box peers (see docs/performance.md). Its virtual
environment must be set up as its README says. `BENCH_PEERS`, `BENCH_ROUNDS` and `BENCH_LEADS` choose what runs;
`BENCH_FULL=1` also measures POST alone, mails at 20 leads/s, memory and idle CPU, and takes about a minute a round.
A peer that fails in one round is left out of it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEERS = "django_celery:kept fastapi_taskiq:kept fastapi_dramatiq:kept faststream_redis:kept"
FIGURES = ("mails_per_s", "cpu_s_per_1000_mails", "post_p50_ms", "post_p99_ms")
# Of a whole round (`BENCH_FULL=1`): POST alone, mails at 20 leads/s, memory after it all, idle CPU in % of a core.
FULL = ("posts_per_s", "mail_p50_ms_at_20", "mail_p99_ms_at_20", "pss_after_mb", "idle_cpu_pct")


def module(name: str, *options: str) -> None:
    """Runs one benchmark as its own process."""
    print(f"\n== {name}", flush=True)
    subprocess.run([sys.executable, "-m", name, *options], check=True, cwd=ROOT)


def install_peer(yardstick: Path, work: Path) -> Path:
    """Copies the yardstick, which writes beside itself, and adds the product to its peers."""
    copy = work / "yardstick"
    shutil.copytree(yardstick, copy, symlinks=True, ignore=shutil.ignore_patterns("v", "va", "results", "logs"))
    for name in ("v", "va"):
        if (yardstick / name).exists():
            (copy / name).symlink_to((yardstick / name).resolve())
    (copy / "leadstream").symlink_to(Path(sys.prefix))
    peer = copy / "peers" / "leadstream"  # a peer's own folder is on its PYTHONPATH
    shutil.copytree(ROOT / "benchmarks", peer / "benchmarks")
    shutil.copy(ROOT / "benchmarks" / "peer" / "peer.json", peer)
    return copy


def one_round(copy: Path, peer: str, leads: int, full: bool) -> dict[str, float]:
    """One burst of one peer; its figures."""
    label = "round"
    command = [
        "v/bin/python", "bench.py", peer, "--n", str(leads), "--runs", "1", "--extra", "0",
        "--quiet-wait", "5", "--worker-boot", "3", "--label", label,
    ]  # fmt: skip
    command += ["--rates", "20"] if full else ["--ingest-n", "0", "--rates", "", "--no-idle"]
    subprocess.run(command, check=True, cwd=copy, stdout=subprocess.DEVNULL)
    name, _, variant = peer.partition(":")
    result = json.loads((copy / "results" / f"{name}.{variant}.{label}.json").read_text())
    if "error" in result:
        raise RuntimeError(f"{peer}: {result['error']}")
    (burst,) = result["runs"]
    assert burst["missing"] == 0, f"{peer} lost {burst['missing']} mails"
    figures = {figure: float(burst[figure]) for figure in FIGURES}
    return figures | whole_round(result) if full else figures


def whole_round(result: dict[str, Any]) -> dict[str, float]:
    """What a whole round measures beside the burst."""
    (steady,) = result["low_rate"].values()
    idle = result["idle_cpu_pct"]
    values = (
        result["ingest_only"]["req_per_s"],
        steady["mail_p50_ms"],
        steady["mail_p99_ms"],
        result["pss_after_mb"],
        idle.get("api", 0.0) + idle.get("worker", 0.0),
    )
    return {figure: float(value) for figure, value in zip(FULL, values, strict=True)}


def rounds(yardstick: Path) -> None:
    """Runs the peers in turn, so that the machine's drift hits all alike; prints medians and ratios."""
    peers = ["leadstream:kept", *os.environ.get("BENCH_PEERS", PEERS).split()]
    count, leads = int(os.environ.get("BENCH_ROUNDS", "5")), int(os.environ.get("BENCH_LEADS", "400"))
    full = os.environ.get("BENCH_FULL") == "1"
    shown = (*FIGURES, *FULL) if full else FIGURES
    seen: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory() as work:
        copy = install_peer(yardstick, Path(work))
        for number in range(1, count + 1):
            for peer in peers:
                try:
                    seen[peer].append(one_round(copy, peer, leads, full))
                except RuntimeError as error:
                    print(f"round {number} {error}", flush=True)
                else:
                    print(f"round {number} {peer:28} {seen[peer][-1]}", flush=True)
    print(f"\nmedians of {count} interleaved rounds, {leads} leads with 6 mails each; in brackets ours against theirs")
    ours = {figure: statistics.median(run[figure] for run in seen[peers[0]]) for figure in shown}
    for peer, runs in seen.items():
        if not runs:
            print(f"{peer:28} never ran")
            continue
        medians = {figure: statistics.median(run[figure] for run in runs) for figure in shown}
        cells = (f"{figure}={value:.3g} ({ours[figure] / max(value, 0.01):.2f})" for figure, value in medians.items())
        print(f"{peer:28} " + "  ".join(cells))


def main() -> None:
    """Runs all of it."""
    module("benchmarks.micro")
    module("benchmarks.cli", "--entries", "200000", "--rounds", "5")
    yardstick = os.environ.get("BENCH_YARDSTICK")
    if yardstick:
        rounds(Path(yardstick))
    else:
        print("\nno peers: BENCH_YARDSTICK does not name a yardstick (docs/performance.md)")


if __name__ == "__main__":
    main()
