"""conf/tags.yml: what is said about a member, by rules and statistics over the features."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from crm_core.config.loader import Settings
from crm_core.config.segments import Words

TagName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
RESERVED = ("member_id", "as_of")


class Case(Settings):
    """One value of a tag and the condition for it; the first case that holds decides."""

    value: str
    when: str = Field(min_length=1)


class Tag(Settings):
    """One tag.

    kind 'rule': either `when` (yes or no) or ordered `cases` (a text; `otherwise` when none holds,
    default none); kind 'statistic': `value`, an expression. `expires_on` is the last day on which it is
    computed.
    """

    kind: Literal["rule", "statistic"]
    title: Words
    meaning: Words | None = None
    owner: str
    expires_on: date | None = None
    when: str | None = Field(None, min_length=1)
    cases: tuple[Case, ...] = ()
    otherwise: str | None = None
    value: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Tag:
        given = {"when": self.when is not None, "cases": bool(self.cases), "value": self.value is not None}
        allowed = ("when", "cases") if self.kind == "rule" else ("value",)
        found = [name for name, present in given.items() if present]
        if len(found) != 1 or found[0] not in allowed:
            raise ValueError(
                f"a {self.kind} needs just one of {', '.join(allowed)}; it has {', '.join(found) or 'none'}"
            )
        if self.otherwise is not None and not self.cases:
            raise ValueError("otherwise goes with cases only")
        return self


class TagSettings(Settings):
    """Everything in conf/tags.yml."""

    tags: dict[TagName, Tag] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_free(self) -> TagSettings:
        taken = [name for name in self.tags if name in RESERVED]
        if taken:
            raise ValueError(f"a tag cannot be called {', '.join(taken)}")
        return self
