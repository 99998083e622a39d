"""conf/tags.yml: what is said about a member, by rules and statistics over the features, by models, by uploaded lists."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from crm_core.config.loader import Settings
from crm_core.config.segments import Words

TagName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Share = Annotated[float, Field(ge=0, le=1)]
RESERVED = ("member_id", "as_of", "upload")


class Bounds(Settings):
    """What a tag must keep to be published: the share of members who have it, and how far that share may move from the
    day on which the same definition was last published (0.1 = ten percentage points)."""

    coverage: tuple[Share, Share] = (0, 1)
    drift: Share = 1

    @model_validator(mode="after")
    def _rising(self) -> Bounds:
        if self.coverage[0] > self.coverage[1]:
            raise ValueError("coverage is [least, most]")
        return self


class Evaluation(Settings):
    """What tags are tried on: whether those who had one, `days` before, paid an order since."""

    days: int = Field(90, ge=1, le=730)


class Case(Settings):
    """One value of a tag and the condition for it; the first case that holds decides."""

    value: str
    when: str = Field(min_length=1)


class Tag(Settings):
    """One tag.

    kind 'rule': either `when` (yes or no) or ordered `cases` (a text; `otherwise` when none holds,
    default none); kind 'statistic': `value`, an expression; kind 'model': either of them over the scores of `model`, called
    MODEL_score, MODEL_low, MODEL_high and MODEL_label; kind 'list': members as uploaded by `crm tag upload`.
    `update`: 'clear' says what holds today, 'keep' lets a member keep what was said before while nothing else is said.
    `expires_on` is the last day on which it is computed. `bounds` in the place of those of all tags.
    """

    kind: Literal["rule", "statistic", "model", "list"]
    title: Words
    meaning: Words | None = None
    owner: str
    expires_on: date | None = None
    model: str = ""
    when: str | None = Field(None, min_length=1)
    cases: tuple[Case, ...] = ()
    otherwise: str | None = None
    value: str | None = Field(None, min_length=1)
    update: Literal["clear", "keep"] = "clear"
    bounds: Bounds | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Tag:
        given = {"when": self.when is not None, "cases": bool(self.cases), "value": self.value is not None}
        allowed = {"rule": ("when", "cases"), "statistic": ("value",), "model": tuple(given), "list": ()}[self.kind]
        found = [name for name, present in given.items() if present]
        if len(found) != min(1, len(allowed)) or not set(found) <= set(allowed):
            needed = f"just one of {', '.join(allowed)}" if allowed else "none of when, cases, value"
            raise ValueError(f"a {self.kind} needs {needed}; it has {', '.join(found) or 'none'}")
        if self.otherwise is not None and not self.cases:
            raise ValueError("otherwise goes with cases only")
        if bool(self.model) != (self.kind == "model"):
            raise ValueError("model: names the model of a tag of kind model, and only there")
        return self


class TagSettings(Settings):
    """Everything in conf/tags.yml."""

    bounds: Bounds = Bounds()
    evaluation: Evaluation = Evaluation()
    tags: dict[TagName, Tag] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_free(self) -> TagSettings:
        taken = [name for name in self.tags if name in RESERVED]
        if taken:
            raise ValueError(f"a tag cannot be called {', '.join(taken)}")
        return self

    def bounds_of(self, name: str) -> Bounds:
        """The tag's own bounds, or those of all."""
        return self.tags[name].bounds or self.bounds
