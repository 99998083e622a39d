"""Every model that conf/models.yml asks for, on one date: fitted, put through the gate, its scores or its baseline's given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ibis.expr.types as ir

from crm_core.config.models import ModelSettings
from crm_core.models import value
from crm_core.models.outcome import Outcome
from crm_core.store import Tables


@dataclass(frozen=True)
class Task:
    """What a runner gets: the tables as of the date (`tables.at(day)` for an earlier one), the members' features on it
    (computed, not lazy), the settings, and the engine for temporary tables."""

    tables: Tables
    features: ir.Table
    settings: ModelSettings
    engine: Any


Runner = Callable[[Task], Sequence[Outcome]]
RUNNERS: dict[str, Runner] = {"value": value.run}
"""By the name of its section in conf/models.yml; each asks the section whether it is `enabled` in `run_all`."""


def run_all(task: Task) -> list[Outcome]:
    """The outcomes of every enabled model, in the order of RUNNERS."""
    asked = [runner for name, runner in RUNNERS.items() if getattr(task.settings, name).enabled]
    return [outcome for runner in asked for outcome in runner(task)]
