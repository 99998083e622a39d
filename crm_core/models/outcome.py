"""What a model is given and what it leaves behind: its card, and the scores that the gate let through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.config.models import ModelSettings
from crm_core.models.card import ModelCard
from crm_core.store import Tables

DIGITS = 6
SCORES = {
    "member_id": "string", "model": "string", "score": "float64", "low": "float64", "high": "float64",
    "label": "string", "reason": "string",
}  # fmt: skip
"""Columns of `member_scores`. `low` and `high` bound the score where the model says by how much it may be off; `label` is
the score in a word (a band, a category); `reason` what moved it, as 'feature:+0.123;feature:-0.045', the strongest first."""


@dataclass(frozen=True)
class Outcome:
    """One model on one date. `scores`: columns of SCORES, of which low, high, label and reason may be absent; None where
    nothing is published or the model says nothing of single members. `model` in them is the card's model, or begins with it
    and an underscore where a model gives several scores (next_purchase_30d)."""

    card: ModelCard
    scores: ir.Table | None = None


@dataclass(frozen=True)
class Task:
    """What a model gets to run: the tables as of the date (`tables.at(day)` for an earlier one), the members' features on it
    (computed, not lazy), the settings, the engine for temporary tables and the folder for files that are soon gone."""

    tables: Tables
    features: ir.Table
    settings: ModelSettings
    engine: Any
    spill: Path


Runner = Callable[[Task], Sequence[Outcome]]


def together(outcomes: Sequence[Outcome]) -> ir.Table:
    """The scores of all outcomes, one row per member and score, rounded: they order things and are hashed."""
    parts = [_whole(outcome.scores) for outcome in outcomes if outcome.scores is not None]
    return ibis.union(*parts) if parts else ibis.memtable([], schema=SCORES)


def cards(outcomes: Sequence[Outcome]) -> ir.Table:
    """model, card (JSON): one row per model."""
    rows = [{"model": outcome.card.model, "card": outcome.card.to_json()} for outcome in outcomes]
    return ibis.memtable(rows, schema={"model": "string", "card": "string"})


def _whole(scores: ir.Table) -> ir.Table:
    columns = {name: scores[name].cast(kind) if name in scores.columns else ibis.null(kind) for name, kind in SCORES.items()}
    numbers = {name: columns[name].round(DIGITS) for name in ("score", "low", "high")}
    return scores.select(**{**columns, **numbers})
