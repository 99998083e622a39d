"""Two commands at once, in processes of their own: the end is that of one after the other, in some order.

    python -m tests.soak.pairs [--rounds 5] [--only 'the same file twice,...'] [--seed 1]

Each round starts both with another delay between them. A reader that runs beside an ingest must see one snapshot, whole,
from its beginning to its end, and a report that is made beside one must be that of before or after it. Prints one JSON object;
ends with 1 when a round did not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.soak import harness

ALLOWED = {0, 2}  # 2: the other one was first, and said so


def pairs_of(base: Path) -> dict[str, tuple[list[str], list[str]]]:
    """The pairs by name."""
    files, loads = base.parent / "files", harness.loads_of(base)
    last = ["ingest", "corner_shop", str(files / harness.LAST)]
    more = ["ingest", "corner_shop", str(files / "more" / "订单5.csv")]
    undo = ["undo", loads[1]]
    return {
        "two files": (last, more),
        "the same file twice": (last, last),
        "a load and an undo": (last, undo),
        "the same undo twice": (undo, undo),
        "a load and compaction": (last, ["compact"]),
        "a load and vacuum": (last, ["vacuum"]),
        "an undo and vacuum": (undo, ["vacuum"]),
    }


def run_pair(base: Path, work: Path, pair: tuple[list[str], list[str]], rounds: int, rng: random.Random) -> list[str]:
    """What went wrong in `rounds` rounds of one pair."""
    serial = []
    for order in (pair, pair[::-1]):
        root = harness.copied(base, work / "serial")
        for arguments in order:
            harness.ended(harness.crm(root, *arguments))
        serial.append(harness.state(root))
    wrong = []
    for number in range(rounds):
        root, logs = harness.copied(base, work / "both"), [work / "log0", work / "log1"]
        first = harness.crm(root, *pair[number % 2], log=logs[0])
        time.sleep(rng.random() * number / rounds)
        second = harness.crm(root, *pair[1 - number % 2], log=logs[1])
        codes = [harness.ended(first), harness.ended(second)]
        found = harness.state(root)
        one_of_them = any(all(found[name] == each[name] for name in ("lake", "vault", "ledger")) for each in serial)
        if not one_of_them or not set(codes) <= ALLOWED or 0 not in codes or not harness.sound(found):
            said = [log.read_text()[-300:] for log in logs]
            wrong.append(f"round {number}: codes {codes}, serial {one_of_them}, {found['wrong']}, {said}")
    return wrong


def run_reader(base: Path, work: Path, rounds: int) -> list[str]:
    """A reader beside an ingest, an undo and a vacuum: what it opened stays the same to its end."""
    from crm_core.store import table_hash
    from crm_core.workspace import Workspace

    files, undone = base.parent / "files", harness.loads_of(base)[0]
    wrong = []
    for number in range(rounds):
        root = harness.copied(base, work / "read")

        def read(root: Path = root) -> dict[str, Any]:
            workspace = Workspace.open(root)
            opened, seen, deadline = workspace.snapshot, set(), time.monotonic() + harness.TIMEOUT
            while time.monotonic() < deadline:
                newest = workspace.ledger.newest_snapshot()
                tables = workspace.tables
                views = (tables.members, tables.orders, tables.order_lines, tables.refunds)
                seen.add(" ".join(table_hash(view) for view in views))
                if newest is not None and opened is not None and newest.id >= opened.id + 2:
                    return {"seen": sorted(seen), "snapshots": newest.id - opened.id}
            return {"seen": sorted(seen), "snapshots": 0}

        writers = [["ingest", "corner_shop", str(files / harness.LAST)], ["undo", undone], ["vacuum"]]
        pids = [harness.crm(root, *arguments) for arguments in writers]
        found = harness.told(read)
        codes = [harness.ended(pid) for pid in pids]
        if len(found["seen"]) != 1 or found["snapshots"] < 2 or any(codes):
            wrong.append(f"round {number}: {len(found['seen'])} different reads, {found['snapshots']} snapshots, {codes}")
    return wrong


def run_report(base: Path, work: Path, rounds: int, rng: random.Random) -> list[str]:
    """A whole `crm run` beside an ingest: its results are those of the data before or after, and the load is whole."""
    ingest = ["ingest", "corner_shop", str(base.parent / "files" / harness.LAST)]
    report = ["run", "rfm_segments"]
    serial, seconds = [], 0.0
    for order in ((report, ingest), (ingest, report)):
        root = harness.copied(base, work / "serial")
        began = time.monotonic()
        codes = [harness.ended(harness.crm(root, *arguments, log=work / "log")) for arguments in order]
        seconds = max(seconds, time.monotonic() - began)
        if any(codes):
            raise SystemExit(f"{order} fails alone: {(work / 'log').read_text()[-2000:]}")
        serial.append((_loaded(root), harness.told(lambda root=root: _reported(root))))
    if serial[0][1] == serial[1][1]:
        raise SystemExit("the load changes nothing that the report shows, so its place could not be told")
    wrong, seen = [], set()
    for number in range(rounds):
        root, logs = harness.copied(base, work / "both"), [work / "log0", work / "log1"]
        first = harness.crm(root, *report, log=logs[0])
        time.sleep(rng.uniform(number, number + 1) / rounds * seconds / 2)
        second = harness.crm(root, *ingest, log=logs[1])
        codes = [harness.ended(first), harness.ended(second)]
        found = harness.told(lambda root=root: _reported(root))
        places = [place for place, (_, reported) in enumerate(serial) if found == reported]
        seen.update(places)
        if any(codes) or not places or _loaded(root) != serial[0][0] or not harness.sound(harness.state(root)):
            said = [log.read_text()[-300:] for log in logs]
            wrong.append(f"round {number}: codes {codes}, {found}, {said}")
    print(f"a report beside an ingest: before it, after it: {sorted(seen)}", file=sys.stderr)
    return wrong


def _loaded(root: Path) -> dict[str, Any]:
    found = harness.state(root)
    return {name: found[name] for name in ("lake", "vault")} | {"loads": found["ledger"]["loads"]}


def _reported(root: Path) -> dict[str, Any]:
    from sqlalchemy import select

    from crm_core.store.ledger import Run
    from crm_core.workspace import Workspace

    with Workspace.open(root).ledger.session() as session:
        (run,) = session.scalars(select(Run)).all()
        page = root / "reports" / run.run_id / "rfm_segments.html"
        return {"state": run.state, "results": run.results, "page": page.is_file()}


def soak(rounds: int, seed: int, only: list[str]) -> dict[str, list[str]]:
    """Every pair (or only those named) and what went wrong in it."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="crm-pairs-") as folder:
        work = Path(folder)
        base = harness.prepare(work)
        pairs = pairs_of(base)
        found = {name: run_pair(base, work, pair, rounds, rng) for name, pair in pairs.items() if not only or name in only}
        if not only or "a reader" in only:
            found["a reader"] = run_reader(base, work, rounds)
        if not only or "a report" in only:
            found["a report"] = run_report(base, work, rounds, rng)
    return found


def main() -> int:
    """Returns 0 when every round of every pair held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    found = soak(asked.rounds, asked.seed, [name for name in asked.only.split(",") if name])
    print(json.dumps(found, ensure_ascii=False, indent=2))
    return 0 if found and not any(found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
