"""A tag for people: title, definition, owner and expiry, as `crm tag` and the reports show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from crm_core.config.tags import TagSettings
from crm_core.errors import unknown
from crm_core.measures.behaviour import NAMES
from crm_core.schema.expression_words import in_words
from crm_core.tags.inputs import WHERE


@dataclass(frozen=True)
class TagDescription:
    """One tag; `definition` is the condition, the cases in order, or what a statistic is, in words."""

    name: str
    kind: str
    title: str
    meaning: str
    definition: str
    owner: str
    expires_on: date | None


def describe(name: str, settings: TagSettings, language: str = "zh") -> TagDescription:
    """What tag `name` says and how, in 'zh' or 'en'. UnknownName with the nearest when there is none."""
    if name not in settings.tags:
        raise unknown("tag", name, settings.tags, WHERE)
    tag = settings.tags[name]
    cases = "; ".join(f"{case.value}: {_said(case.when, language)}" for case in tag.cases)
    if tag.otherwise is not None:
        cases += ("；其余：" if language == "zh" else "; otherwise: ") + tag.otherwise
    meaning = getattr(tag.meaning, language) if tag.meaning else ""
    rule = tag.when or tag.value
    definition = _said(rule, language) if rule else cases or "crm tag upload"
    definition = f"{tag.model}: {definition}" if tag.model else definition
    return TagDescription(name, tag.kind, getattr(tag.title, language), meaning, definition, tag.owner, tag.expires_on)


def _said(expression: str, language: str) -> str:
    return in_words(expression, NAMES, language)
