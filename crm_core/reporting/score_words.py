"""Each score of one member in words: what it says, how sure it is, by which predictor, and what moved it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from crm_core.measures import FEATURES
from crm_core.models.card import ModelCard
from crm_core.reporting import numbers
from crm_core.reporting.labels import Labels
from crm_core.reporting.views.model_words import ModelWords, same_question

MONEY = ("value", "expected_spend")
CHANCES = ("p_alive", "churn", "next_category")


@dataclass(frozen=True)
class Moved:
    """By how much a feature's value moves a score, against the typical value in its place."""

    feature: str
    title: str
    value: Any
    typical: Any
    move: float


@dataclass(frozen=True)
class ScoreReason:
    """One score: `by` is the predictor in use ('' where unknown), `baseline` says that the model itself was withheld."""

    model: str
    score: float
    low: float | None
    high: float | None
    label: str | None
    by: str
    baseline: bool
    text: str
    moved: tuple[Moved, ...]


def score_reasons(
    rows: Sequence[Mapping[str, Any]], cards: Mapping[str, ModelCard], features: Mapping[str, Any], labels: Labels, currency: str
) -> tuple[ScoreReason, ...]:
    """The rows of `member_scores` of one member, with the values of that member's `features`."""
    words = ModelWords(labels, currency)
    shared = card_of("next_purchase", cards)
    days = same_question(cards.get("churn"), shared.params.get("horizons", ()) if shared else ())
    return tuple(
        _reason(row, card_of(row["model"], cards), features, words, row["model"] == f"next_purchase_{days}d") for row in rows
    )


def card_of(score: str, cards: Mapping[str, ModelCard]) -> ModelCard | None:
    """The card of the model that gives `score`: the one with the longest name that it is or begins with."""
    found = [name for name in cards if score == name or score.startswith(f"{name}_")]
    return cards[max(found, key=len)] if found else None


def _reason(
    row: Mapping[str, Any], card: ModelCard | None, features: Mapping[str, Any], words: ModelWords, of_churn: bool
) -> ScoreReason:
    """`of_churn`: the churn warning answers the same question."""
    moved = _moved(row["reason"] or "", card, features, words.labels.language)
    parts = [_said(row, card, words)]
    if card is not None and card.model == "churn":
        band = card.params.get("bands", {}).get(row["label"])
        if band:
            title = words.labels.text({"high": "band_high", "medium": "band_medium", "low": "band_low"}[row["label"]])
            share = numbers.show(band["lost"], "percent", language=words.labels.language)
            parts.append(words.labels.text("score_band", band=title, share=share, count=f"{band['buyers']:,}"))
    parts += [words.labels.text("score_of_churn")] if of_churn else []
    parts += [_because(each, words) for each in moved]
    if card is not None:
        key = "score_by_baseline" if card.verdict == "baseline" else "score_by"
        parts.append(words.labels.text(key, by=words.name(card.published)))
    return ScoreReason(
        row["model"], row["score"], row["low"], row["high"], row["label"], card.published if card else "",
        card is not None and card.verdict == "baseline",
        words.name(row["model"]) + words.labels.text("colon") + ("；" if words.labels.language == "zh" else "; ").join(parts),
        moved,
    )  # fmt: skip


def _said(row: Mapping[str, Any], card: ModelCard | None, words: ModelWords) -> str:
    model, labels = row["model"], words.labels
    if model == "next_purchase_days" and card is not None:
        days = [card.as_of + timedelta(days=round(row[end])) for end in ("score", "low", "high")]
        return labels.text("score_window", day=days[0], first=days[1], last=days[2], days=_horizon(card))
    chance = model in CHANCES or model.startswith("next_purchase_")
    unit = "percent" if chance else "money" if model.startswith(MONEY) else "number"
    shown = [numbers.show(row[end], unit, language=labels.language, currency=words.currency) for end in ("score", "low", "high")]
    if model == "next_category":
        return f"{row['label']} {shown[0]}"
    if row["low"] is None:
        return shown[0]
    if chance:
        return f"{shown[0]} ({labels.text('span', low=shown[1], high=shown[2])})"
    # a mean may well lie above the range of nearly all: the few others buy for them
    return labels.text("score_mean" if row["high"] else "score_mean_none", mean=shown[0], low=shown[1], high=shown[2])


def _horizon(card: ModelCard) -> int:
    horizons = card.params.get("horizons") or (0,)
    return int(horizons[-1])


def _moved(reason: str, card: ModelCard | None, features: Mapping[str, Any], language: str) -> tuple[Moved, ...]:
    typical = card.params.get("typical", {}) if card is not None else {}
    pairs = [part.split(":") for part in reason.split(";") if part]
    return tuple(
        Moved(
            name, str(getattr(FEATURES[name], language)) if name in FEATURES else name, features.get(name),
            typical.get(name), float(move),
        )
        for name, move in pairs
    )  # fmt: skip


def _because(moved: Moved, words: ModelWords) -> str:
    return words.labels.text(
        "score_moved", feature=moved.title, value=_plain(moved.value), typical=_plain(moved.typical),
        move=numbers.show(moved.move, "points", language=words.labels.language, sign=True),
    )  # fmt: skip


def _plain(value: Any) -> str:
    if value is None:
        return numbers.NOTHING
    if isinstance(value, str | date):
        return str(value)
    return f"{float(value):,.2f}".rstrip("0").rstrip(".")
