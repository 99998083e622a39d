"""The command model: what became of each model on a date, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from crm_core.cli.output import open_workspace, say, table, working
from crm_core.errors import unknown

if TYPE_CHECKING:
    from crm_core.models import ModelCard
    from crm_core.reporting.views.model_words import ModelWords


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command()(model)


def model(
    name: str = typer.Argument("", help="a model; none: all of them"),
    as_of: str = typer.Option("", "--as-of", help="YYYY-MM-DD; default: the last day that the data cover"),
) -> None:
    """Which models are published, which withheld and why; with NAME one model's card."""
    from crm_core.reporting.labels import Labels
    from crm_core.reporting.views.model_words import ModelWords

    workspace = open_workspace(as_of)
    with working("reading the models, or running those that are not stored"):
        cards = workspace.models
    words = ModelWords(Labels(workspace.config.project.language), workspace.config.project.currency)
    if not name:
        rows = [words.row(card) | {"name": card.model} for card in cards.values()]
        columns = ("name", "verdict", "published", "measure", "own", "rival", "gain", "tested")
        facts = {each: json.loads(card.to_json()) for each, card in cards.items()}
        say({"as_of": workspace.as_of, "models": facts}, [f"models as of {workspace.as_of}", *table(rows, columns)])
        return
    if name not in cards:
        raise unknown("model", name, cards, f"the models of {workspace.as_of}")
    say(json.loads(cards[name].to_json()), _lines(cards[name], words))


def _lines(card: ModelCard, words: ModelWords) -> Iterable[str]:
    yield f"{card.model} {words.name(card.model)} as of {card.as_of}: {words.row(card)['verdict']}"
    if why := words.why(card):
        yield why.replace("**", "")
    yield "needs"
    yield from table([{"what": need.what, "found": need.found, "needed": need.needed} for need in card.needs])
    test = card.backtest
    if test is not None:
        yield f"backtest: fitted on what was known on {test.fitted_until}, tried until {test.tested_until} on {test.rows:,} rows"
        yield f"{test.metric} decides ({'less' if test.lower_is_better else 'more'} is better); gain {words.row(card)['gain']}"
        yield from table([
            {"predictor": entrant.name, "kind": "baseline" if entrant.baseline else "model"}
            | {name: "–" if value is None else f"{value:,.5g}" for name, value in entrant.measures.items()}
            for entrant in test.entrants
        ])  # fmt: skip
    yield "parameters"
    for name, value in sorted(card.params.items()):
        text = json.dumps(value, ensure_ascii=False, default=str)
        yield f"  {name}: {text if len(text) <= 300 else text[:297] + '...'}"
