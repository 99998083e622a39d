"""Every word that a report shows, in Chinese and English, from one file: labels.yml beside this module.

`Labels` is what views and templates hold: `text(key)` for fixed words (an unknown key is an error, so that
no report shows a raw key), `name(kind, key)` for names that data brings along (a table, a column, a
segment): unknown ones show as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from crm_core.config.reports import AT_LEAST
from crm_core.errors import unknown
from crm_core.reporting import numbers

LANGUAGES = ("zh", "en")
CHECK_UNITS = {
    "balance": "count", "rejected_share": "percent", "duplicate_share": "percent", "conflict_share": "percent",
    "freshness_days": "days", "days_since_load": "days", "broken_rules": "count", "completeness": "percent",
    "validity": "percent", "drift": "number", "gap_days": "days", "impossible_share": "percent",
}  # fmt: skip
FILE = Path(__file__).with_name("labels.yml")


@cache
def entries() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """The label file: section → key → language → text (for metrics: name, definition, unit)."""
    content: Mapping[str, Mapping[str, Mapping[str, Any]]] = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    return content


def language_of(workspace: Any = None) -> str:
    """The reader's language: CRM_LANGUAGE (set by the runner), else the project's, else Chinese."""
    chosen = os.environ.get("CRM_LANGUAGE", "")
    if not chosen and workspace is not None:
        chosen = workspace.config.project.language
    chosen = chosen or LANGUAGES[0]
    if chosen not in LANGUAGES:
        raise unknown("language", chosen, LANGUAGES, "CRM_LANGUAGE")
    return chosen


class Labels:
    """The words of one language."""

    def __init__(self, language: str) -> None:
        """`language`: zh or en. Raises UnknownName."""
        if language not in LANGUAGES:
            raise unknown("language", language, LANGUAGES)
        self.language = language

    def text(self, key: str, **values: Any) -> str:
        """The fixed text `key` of section 'text' with `{name}` placeholders filled. Raises UnknownName."""
        known = entries()["text"]
        if key not in known:
            raise unknown("label", key, known, FILE.name)
        text = str(known[key][self.language])
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
        return text

    def name(self, kind: str, key: str) -> str:
        """What the reader calls `key` (of a section such as 'segments', 'columns'); the key itself when it
        is not listed."""
        entry = entries().get(kind, {}).get(key)
        return str(entry[self.language]) if entry else key

    def metric(self, key: str) -> dict[str, str]:
        """Name, definition and unit of a metric of design's list. Raises UnknownName."""
        known = entries()["metrics"]
        if key not in known:
            raise unknown("metric", key, known, FILE.name)
        entry = known[key]
        return {"key": key, "name": str(entry[self.language]), "definition": str(entry[f"{self.language}_definition"])}

    def outcome(self, check: Mapping[str, Any]) -> str:
        """A check of the gate in one sentence: what is checked, what was found and where, what is allowed. `check`: the
        plain values of an outcome."""
        unit, bound = CHECK_UNITS[check["check"]], "at_least" if check["check"] in AT_LEAST else "at_most"
        where = self._where(check["of"])
        worst = self._where(check["what"]) if check["what"] != check["of"] else ""
        return self.text(
            f"gate_{bound}" if check["found"] is not None else "gate_nothing",
            check=self.name("checks", check["check"]) + (self.text("in_brackets", words=where) if where else ""),
            found=numbers.show(check["found"], unit, language=self.language),
            what=self.text("in_brackets", words=worst) if worst else "",
            allowed=numbers.show(check["allowed"], unit, language=self.language),
        )

    def _where(self, of: str) -> str:
        table, dot, column = of.partition(".")
        if dot and column in entries()["columns"] and table in entries()["tables"]:
            return f"{self.name('tables', table)} · {self.name('columns', column)}"
        kind = "contradictions" if of in entries()["contradictions"] else "tables"
        return self.name(kind, of)

    def joined(self, words: list[str]) -> str:
        """A list in a sentence: '甲、乙' or 'a, b'."""
        return ("、" if self.language == "zh" else ", ").join(words)
