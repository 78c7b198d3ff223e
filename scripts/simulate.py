"""
Play a month of requests against N replicas, and print who waits how long: scripts/simulate.py

Requests come at random, with the rhythm of day and week (--peak-factor), or as they did: with
--from-logs and --month, arrivals and work are those of the service's own log. A replica serves one
request at a time: a worker, a GPU. Without --replicas the fewest are looked for that meet the aim.

    scripts/simulate.py --requests 1000000 --audio-seconds 8 --rtf 0.5
    scripts/simulate.py --requests 1000000 --rtf 0.5 --autoscale 2:12 --start-seconds 180
    scripts/simulate.py --from-logs logs --month 2026-10 --times 3
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from observability.capacity.load import Length, Load, drawn, replayed, week
from observability.capacity.queueing import Demand, servers_for, wait_quantile
from observability.capacity.scaling import Autoscale
from observability.capacity.simulation import Fleet, Run, fewest, simulate
from observability.log_store.questions import Unanswerable
from observability.log_store.sources import open_store

SHARES = (0.5, 0.95, 0.99)


def main() -> int:
    """Exit status 0 with an answer, 1 if no number of replicas meets the aim, 2 for a wrong one."""
    parser = _parser()
    asked = parser.parse_args()
    try:
        load = _load(asked)
        fleet = _fleet(asked)
    except ValueError as error:
        parser.error(str(error))
    except Unanswerable as error:
        print(error.en, error.zh, sep="\n", file=sys.stderr)
        return 2

    def is_enough(run: Run) -> bool:
        late = run.wait_quantile(asked.aim_percent / 100)
        return bool(late <= asked.aim_wait and run.lost_share * 100 <= asked.aim_lost)

    began = time.perf_counter()
    runs: list[tuple[str, Run]] = []
    found: int | None = None
    if asked.autoscale:
        runs.append((f"{asked.autoscale.replace(':', ' to ')}", simulate(load, fleet)))
    elif asked.replicas:
        counts = range(max(1, asked.replicas - 1), asked.replicas + 2)
        runs += [(str(n), simulate(load, replace(fleet, replicas=n))) for n in counts]
    else:
        best = fewest(load, fleet, is_enough=is_enough)
        found = best[0] if best else None
        if best and best[0] > 1:
            fewer = best[0] - 1
            runs.append((str(fewer), simulate(load, replace(fleet, replicas=fewer))))
        if best:
            runs.append((str(best[0]), best[1]))
    seconds = time.perf_counter() - began
    if asked.json:
        told = {"load": _facts(load), "runs": [{"replicas": n, **_figures(r)} for n, r in runs]}
        print(json.dumps(told | {"fewest_replicas": found}, indent=2))
    else:
        print(*_told(load, runs, is_enough, asked, seconds), sep="\n")
    searched = not asked.autoscale and not asked.replicas
    if searched and found is None:
        print(
            "No number of replicas up to 10,000 meets the aim. Requests whose own work is longer "
            "than --timeout are late with any.",
            "一万个副本也达不到目标；本身耗时超过 --timeout 的请求，副本再多也会超时。",
            sep="\n",
            file=sys.stderr,
        )
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    load = parser.add_argument_group("what comes")
    load.add_argument("--requests", type=int, default=1_000_000, help="in 30 days")
    load.add_argument("--peak-factor", type=float, help="busiest hour of the week over the mean; "
                      "1 for the same always, 2.5 (office hours) if not given")  # fmt: skip
    load.add_argument("--audio-seconds", type=float, default=8.0, help="of a request, mean (8)")
    load.add_argument("--audio-cv", type=float, default=0.8, help="standard deviation / mean (0.8)")
    load.add_argument("--rtf", type=float, default=0.5, help="seconds of work a second of audio")
    load.add_argument("--rtf-cv", type=float, default=0.2, help="standard deviation / mean (0.2)")
    load.add_argument("--fixed-seconds", type=float, default=0.0, help="work of any request")
    load.add_argument("--from-logs", type=Path, metavar="FOLDER", help="play what the log holds")
    load.add_argument("--month", help="YYYY-MM of the log")
    load.add_argument("--times", type=int, default=1, help="as so many times the log's traffic")
    load.add_argument("--seed", type=int, default=1, help="the same seed, the same month")
    fleet = parser.add_argument_group("what serves it")
    fleet.add_argument("--replicas", type=int, help="show this number and its neighbours")
    fleet.add_argument("--queues", choices=("one", "each", "shortest"), default="one", help="one "
                       "queue for all (workers of one service); one each, dealt at random "
                       "(services behind a load balancer); one each, the shortest chosen "
                       "(behind one that counts)")  # fmt: skip
    fleet.add_argument("--max-queue", type=int, default=32, help="as INDEXTTS_MAX_QUEUE")
    fleet.add_argument("--timeout", type=float, default=60.0, help="as INDEXTTS_TIMEOUT_SECONDS")
    fleet.add_argument("--autoscale", metavar="LEAST:MOST", help="as Kubernetes does it")
    fleet.add_argument("--target", type=float, default=0.8, help="requests (waiting and served) "
                       "that each replica should have (0.8)")  # fmt: skip
    fleet.add_argument("--start-seconds", type=float, default=120.0, help="start of a new replica")
    fleet.add_argument("--waiting-only", action="store_true", help="scale by the queue alone")
    aim = parser.add_argument_group("what is enough")
    aim.add_argument("--aim-wait", type=float, default=2.0, help="seconds of waiting at most")
    aim.add_argument("--aim-percent", type=float, default=95.0, help="for this share of requests")
    aim.add_argument("--aim-lost", type=float, default=0.1, help="percent refused or timed out")
    parser.add_argument("--json", action="store_true")
    return parser


def _load(asked: argparse.Namespace) -> Load:
    for name in ("requests", "seed"):
        if getattr(asked, name) < 0:
            raise ValueError(f"--{name} is 0 or more")
    if asked.times < 1:
        raise ValueError("--times is 1 or more")
    if not (0 < asked.aim_percent < 100 and asked.aim_wait >= 0 and asked.aim_lost >= 0):
        raise ValueError("--aim-percent lies between 0 and 100, the other aims are 0 or more")
    if (asked.from_logs is None) != (asked.month is None):
        raise ValueError("--from-logs and --month go together")
    if asked.from_logs is None:
        length = Length(
            audio_seconds=asked.audio_seconds,
            rtf=asked.rtf,
            audio_cv=asked.audio_cv,
            rtf_cv=asked.rtf_cv,
            fixed_seconds=asked.fixed_seconds,
        )
        return drawn(asked.requests, length, by_hour=week(asked.peak_factor), seed=asked.seed)
    match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", asked.month)
    if not match or not 1970 <= int(match[1]) <= 9998:
        raise ValueError("--month is YYYY-MM")
    year, month = int(match[1]), int(match[2])
    since = datetime(year, month, 1, tzinfo=UTC)
    until = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    store = open_store("files", asked.from_logs)
    return replayed(store, since, until, times=asked.times, seed=asked.seed)


def _fleet(asked: argparse.Namespace) -> Fleet:
    if asked.autoscale and asked.replicas:
        raise ValueError("--replicas or --autoscale, not both")
    if asked.waiting_only and not asked.autoscale:
        raise ValueError("--waiting-only goes with --autoscale")
    rule = None
    if asked.autoscale:
        match = re.fullmatch(r"(\d+):(\d+)", asked.autoscale)
        if not match:
            raise ValueError("--autoscale is LEAST:MOST, as 2:12")
        rule = Autoscale(
            least=int(match[1]),
            most=int(match[2]),
            target=asked.target,
            start_seconds=asked.start_seconds,
            waiting_only=asked.waiting_only,
        )
    return Fleet(
        replicas=asked.replicas if asked.replicas is not None else 1,
        queues=asked.queues,
        max_queue=asked.max_queue,
        timeout_seconds=asked.timeout,
        autoscale=rule,
    )


def _facts(load: Load) -> dict[str, Any]:
    return {
        "requests": int(load.arrivals.size),
        "days": load.seconds / 86_400,
        "work_seconds": round(load.work_seconds, 4),
        "work_cv": round(load.work_cv, 3),
        "busiest_hour_per_second": round(load.peak_rate, 4),
        "busiest_hour_over_mean": round(
            load.peak_rate * load.seconds / max(load.arrivals.size, 1), 2
        ),
    }


def _figures(run: Run) -> dict[str, Any]:
    return {
        **{f"wait_p{100 * share:g}": round(run.wait_quantile(share), 3) for share in SHARES},
        "wait_max": round(run.wait_quantile(1), 3),
        "refused": int(run.refused.sum()),
        "timed_out": run.timed_out,
        "utilisation": round(run.utilisation, 4),
        "busy_in_busiest_hour": round(run.busiest_hour, 2),
        "most_replicas": run.most_replicas,
        "replica_hours": round(run.replica_seconds / 3600, 1),
    }


def _told(
    load: Load,
    runs: list[tuple[str, Run]],
    is_enough: Callable[[Run], bool],
    asked: argparse.Namespace,
    seconds: float,
) -> Iterator[str]:
    facts = _facts(load)
    yield (
        f"{facts['requests']:,} requests in {facts['days']:g} days, {facts['work_seconds']:.2f} s "
        f"of work each (coefficient of variation {facts['work_cv']:.2f}); "
        f"{facts['busiest_hour_per_second']:.2f} a second in the busiest hour, "
        f"{facts['busiest_hour_over_mean']:.1f} times the mean. Queues: {asked.queues}.\n"
    )
    yield (
        "| replicas | wait p50 | p95 | p99 | max | refused | timed out | busy "
        "| in the busiest hour | replica-hours | aim |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for name, run in runs:
        figures = _figures(run)
        p50, p95, p99, most = (
            f"{figures[name]:.2f} s" for name in ("wait_p50", "wait_p95", "wait_p99", "wait_max")
        )
        busiest = f"{figures['busy_in_busiest_hour']:.1f} of {figures['most_replicas']}"
        yield (
            f"| {name} | {p50} | {p95} | {p99} | {most} | {figures['refused']:,} "
            f"| {figures['timed_out']:,} | {run.utilisation:.0%} | {busiest} "
            f"| {figures['replica_hours']:,.0f} | {'met' if is_enough(run) else 'missed'} |"
        )
    yield (
        f"\nAim: {asked.aim_percent:g} % wait {asked.aim_wait:g} s at most, {asked.aim_lost:g} % "
        f"refused or timed out. {_by_formula(load, asked)} Played in {seconds:.1f} s."
    )


def _by_formula(load: Load, asked: argparse.Namespace) -> str:
    """What the formula says of the busiest hour, as if it never ended."""
    if not load.work.sum():
        return "There is nothing to do."
    demand = Demand(rate=load.peak_rate, work_seconds=load.work_seconds, work_cv=load.work_cv)
    share = asked.aim_percent / 100
    try:
        servers = servers_for(demand, wait_seconds=asked.aim_wait, share=share)
    except ValueError as error:
        return f"By formula {error}."
    wait = wait_quantile(servers, demand, share)
    told = f"{wait:.2f} s" if math.isfinite(wait) else "for ever"
    return (
        f"By formula (Allen-Cunneen, one queue, the busiest hour for ever) {servers} replicas: "
        f"{asked.aim_percent:g} % wait {told} at most."
    )


if __name__ == "__main__":
    sys.exit(main())
