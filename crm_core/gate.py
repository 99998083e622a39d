"""The gate of a run: the checks of conf/reports.yml, judged on the snapshot that the run pins, before its notebooks are made.

When a check fails only data_health is made – it says what is wrong – and the others are held back: their last good
reports stay, and the index says why. `ignore` makes them all the same, marked. The outcome is kept in the ledger's run and
in run.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crm_core import runs
from crm_core.measures.quality import Outcome, Quality, judge
from crm_core.measures.quality.gate import check_names
from crm_core.reporting import NotebookResult
from crm_core.store import now
from crm_core.store.ledger import Run
from crm_core.workspace import Workspace

ALWAYS_MADE = ("data_health",)


@dataclass(frozen=True)
class Gate:
    """The outcomes of a run's checks; `ignored`: what failed was to hold nothing back."""

    outcomes: tuple[Outcome, ...] = ()
    ignored: bool = False

    @property
    def failed(self) -> list[Outcome]:
        """The checks that failed."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    @property
    def closed(self) -> bool:
        """Whether notebooks are held back."""
        return bool(self.failed) and not self.ignored

    def as_json(self) -> dict[str, Any]:
        """Plain values for the ledger and run.json."""
        return {
            "passed": not self.failed,
            "ignored": self.ignored and bool(self.failed),
            "checks": [outcome.as_json() for outcome in self.outcomes],
        }

    def lets_through(self, notebooks: Sequence[str]) -> list[str]:
        """Those of `notebooks` that are made."""
        return [name for name in notebooks if name in ALWAYS_MADE or not self.closed]

    def held(self, notebooks: Sequence[str]) -> list[NotebookResult]:
        """The results of those that are not."""
        why = "held back by the gate: " + "; ".join(outcome.sentence for outcome in self.failed)
        made = self.lets_through(notebooks)
        return [NotebookResult(name, "held", 0.0, 0.0, 0.0, {}, error=why) for name in notebooks if name not in made]


def check_settings(workspace: Workspace) -> None:
    """Raises UnknownName for a check of conf/reports.yml that names what does not exist."""
    check_names(workspace.config.reports.gate, workspace.config.source_names())


def judge_run(workspace: Workspace, run_id: str, ignore: bool = False) -> Gate:
    """Judges the gate for an open run and keeps the outcome in its ledger row. Without checks nothing is worked out."""
    run = runs.find_run(workspace, run_id)
    seen = workspace.pinned(run.snapshot_id, run.config_hash, run.as_of)
    checks = seen.config.reports.gate
    if not checks:
        return Gate()
    gate = Gate(tuple(judge(Quality(seen.tables, seen.lake, seen.config), checks, now())), ignore)
    with workspace.ledger.transaction() as session:
        stored = session.get(Run, run_id)
        assert stored is not None
        stored.detail = {**stored.detail, "gate": gate.as_json()}
    return gate
