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

from crm_core.errors import unknown

LANGUAGES = ("zh", "en")
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
        return {
            "key": key,
            "name": str(entry[self.language]),
            "definition": str(entry[f"{self.language}_definition"]),
        }

    def joined(self, words: list[str]) -> str:
        """A list in a sentence: '甲、乙' or 'a, b'."""
        return ("、" if self.language == "zh" else ", ").join(words)
