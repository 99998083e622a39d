"""`demo`: the whole walk on a simulated shop – first export, a campaign frozen and handed over, its answers, nightly, verdict.

Nothing is staged: the shop's answer to the list comes from the simulator's truth for exactly the people on it, the second
export brings it back through the inbox, and the verdict is the toolkit's own. Run again, everything that was done is found done.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from crm_core import campaigns, ingest, runs
from crm_core.campaigns.records import exports_of
from crm_core.errors import InputError, RunFailed
from crm_core.reporting import warm
from crm_core.simulate import simulate
from crm_core.workspace import Workspace

CAMPAIGN = "winback_at_risk"
SOURCE = "sample"
UNTIL = date(2026, 10, 31)
LIST_DAYS_BEFORE = 30


@dataclass
class Demo:
    """What the demo did, with the seconds of each step as measured."""

    workspace: str
    steps: list[tuple[str, float]] = field(default_factory=list)
    export: str = ""
    counts: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Wall seconds of all steps."""
        return sum(seconds for _, seconds in self.steps)

    def facts(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "workspace": self.workspace, "seconds": round(self.seconds, 1), "steps": dict(self.steps),
            "export": self.export, "counts": self.counts, "verdict": self.verdict, "run": self.run,
        }  # fmt: skip

    def _adds_up(self) -> str:
        rejected = self.counts["rejected"]
        why = ", ".join(f"{reason} {count:,}" for reason, count in rejected.items())
        return (
            f"selected {self.counts['selected']:,} = exported {self.counts['exported']:,} "
            f"+ held out {self.counts['held_out']:,} + rejected {sum(rejected.values()):,} ({why or 'none'})"
        )

    def lines(self) -> list[str]:
        """The closing words for people."""
        overhead = [times["kernel_start"] for times in self.run["seconds"].values()]
        cells = [times["cells"] for times in self.run["seconds"].values()]
        return [
            "",
            f"target list:  {self.export}",
            f"              {self._adds_up()}",
            f"did it work?  {self.verdict}",
            f"notebooks:    {len(cells)}; seconds in kernel start {_listed(overhead)}, in cells {_listed(cells)}",
            f"seconds:      {self.seconds:.1f} in all",
            f"reports:      {self.run['index']}",
        ]


def demo(workspace: Workspace, *, members: int, seed: int, days: int, flow: Any, tell: Callable[[str], None]) -> Demo:
    """Plays the whole walk in `workspace`. `flow` is the nightly flow's module, `tell` is told each step as it ends.

    Raises InputError when the workspace holds other data, RunFailed when a notebook fails.
    """
    _only_for_demo(workspace, {"members": members, "seed": seed, "days": days})
    done = Demo(str(workspace.root))
    warm()  # kernels and Prefect's server come up while the shop is simulated and loaded
    server = flow.start_server_early(str(workspace.root))
    listed = UNTIL - timedelta(days=LIST_DAYS_BEFORE)
    first, answers = workspace.data_dir / "sample" / "first_export", workspace.inbox_dir / SOURCE
    world: dict[str, Any] = {"members": members, "seed": seed, "days": days, "until": UNTIL}
    try:
        with _step(done, tell, f"the shop's files as exported on {listed}"):
            _fresh(first)
            simulate(first, exported_on=listed, **world)
        with _step(done, tell, "loaded into the lake"):
            _load(workspace, first, tell)
        with _step(done, tell, f"features, segments and tags as of {listed}"):
            then = Workspace.open(workspace.root, listed)
            then.refresh("demo")
        with _step(done, tell, f"campaign {CAMPAIGN}: list frozen with its control, exported"):
            export_id, folder, done.counts = _hand_over(then)
            done.export = str(folder)
        with _step(done, tell, f"the shop's files a month later, with the answers to that list, as of {UNTIL}"):
            _fresh(answers)
            summary = simulate(answers, answered=sorted((folder / "payload").glob("*.csv")), **world)
            aside = workspace.data_dir / "sample"
            receipts = _put_aside(summary.receipts, aside / "receipts")
            _fresh(aside / "truth")
            shutil.move(answers / "truth", aside / "truth")  # no file that a shop would export
        with _step(done, tell, "receipts and replies taken in"):
            for path in receipts:
                _take_receipts(then, path, export_id)
        with _step(done, tell, "nightly flow: inbox, segments, tags, reports"):
            run_id = flow.run(str(workspace.root), as_of=UNTIL.isoformat(), server=server)
    finally:
        server.stop()
    now = Workspace.open(workspace.root, UNTIL)
    done.run = runs.summary(now, run_id)
    if done.run["state"] != runs.DONE:
        raise RunFailed("; ".join(f"{name}: {error}" for name, error in {**done.run["errors"], **done.run["problems"]}.items()))
    done.verdict = verdict(now)
    return done


def verdict(workspace: Workspace) -> str:
    """The campaign's reading as one sentence."""
    settings = workspace.config.campaign(CAMPAIGN)
    found = campaigns.evaluate(workspace.tables, CAMPAIGN, settings, ledger=workspace.ledger).result()
    lift, currency = found.chosen, workspace.config.project.currency
    return (
        f"{CAMPAIGN}: {found.reading} – {found.metric} per person {lift.lift:+.2f} {currency} "
        f"({lift.low:+.2f} … {lift.high:+.2f}, 95 %), against the control that was held out"
    )


def _hand_over(workspace: Workspace) -> tuple[str, Path, dict[str, Any]]:
    """(export_id, folder, counts) of the campaign's hand-off. One that was made stays: its receipts may hold refusals."""
    frozen = campaigns.freeze(
        workspace.tables, workspace.config, workspace.lake, workspace.ledger, workspace.vault, CAMPAIGN, actor="demo"
    )
    made = exports_of(workspace.ledger, frozen.audience_id)
    if made:
        return made[0].export_id, workspace.exports_dir / CAMPAIGN / made[0].export_id, made[0].counts
    handed = campaigns.export(
        workspace.config,
        workspace.lake,
        workspace.ledger,
        workspace.vault,
        workspace.exports_dir,
        CAMPAIGN,
        audience_id=frozen.audience_id,
        actor="demo",
        purpose="demo",
    )
    return handed.export_id, handed.folder, handed.counts


def _take_receipts(workspace: Workspace, path: Path, export_id: str) -> None:
    campaigns.receipts(
        path, export_id, workspace.config, workspace.lake, workspace.ledger, workspace.vault, workspace.exports_dir,
        actor="demo",
    )  # fmt: skip


def _load(workspace: Workspace, folder: Path, tell: Callable[[str], None]) -> None:
    report = ingest.ingest(workspace.config, workspace.lake, workspace.vault, SOURCE, [folder], actor="demo")
    tell(
        f"  read {report.read:,} rows = accepted {report.accepted:,} + duplicate {report.duplicate:,} "
        f"+ rejected {report.rejected:,}"
    )


def _listed(seconds: list[float]) -> str:
    return " ".join(f"{one:.1f}" for one in seconds)


def _only_for_demo(workspace: Workspace, world: dict[str, int]) -> None:
    """A demo shares its workspace with nothing else, and with no other simulated world."""
    live = {load.source for load, _ in ingest.loads(workspace.ledger) if load.state == "live"}
    others = sorted(source for source in live - {SOURCE} if not source.startswith("receipts:"))
    if others:
        raise InputError(f"this workspace holds data of {', '.join(others)}; play the demo in another: crm --workspace FOLDER demo")
    noted = workspace.data_dir / "sample" / "world.json"
    if noted.is_file() and json.loads(noted.read_text()) != world:
        raise InputError(
            f"this workspace holds a demo of {noted.read_text().strip()}; use the same numbers, or another --workspace"
        )
    noted.parent.mkdir(parents=True, exist_ok=True)
    noted.write_text(json.dumps(world) + "\n")


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _put_aside(receipts: tuple[Path, ...], folder: Path) -> list[Path]:
    # the platform's receipts are not the shop's files: they must not lie in the shop's inbox
    folder.mkdir(parents=True, exist_ok=True)
    moved = [Path(shutil.move(path, folder / path.name)) for path in receipts]
    for parent in {path.parent for path in receipts}:
        shutil.rmtree(parent, ignore_errors=True)
    return moved


@contextmanager
def _step(done: Demo, tell: Callable[[str], None], text: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    done.steps.append((text, round(seconds, 2)))
    tell(f"{seconds:6.1f} s  {text}")
