"""`LinkModel`: the fixed weights by which two records are compared, as `crm identity train` wrote them.

The file holds numbers and names of kinds only: no value of a member, no term frequency, no statement of a database. So it may
be kept, compared and copied, and linking by it gives the same answer for two records whatever else was loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from crm_core.config.identity import Kind
from crm_core.config.loader import Settings
from crm_core.errors import InputError, RunFailed

NAMES = "given_name+family_name"
HOW: dict[str, tuple[str, tuple[float, ...]]] = {
    "name": ("similar", (0.92, 0.8)),
    "given_name": ("similar", (0.92, 0.8)),
    "family_name": ("similar", (0.92, 0.8)),
    NAMES: ("names", (0.92, 0.8)),
    "birth_date": ("typing", (1, 2)),
    "phone": ("typing", (1,)),
    "email": ("similar", (0.92, 0.8)),
    "address": ("similar", (0.92, 0.8)),
    "city": ("similar", (0.92, 0.8)),
    "postcode": ("typing", (1, 2)),
}
"""How each kind is compared: 'similar' by Jaro-Winkler above the thresholds, 'typing' by Damerau-Levenshtein distance,
'names' like similar for both names, also when they were exchanged."""


class Weights(Settings):
    """One comparison: per level, from the same down to different, how often it is met among one person and among two."""

    compare: str
    of_one_person: tuple[float, ...] = Field(min_length=2, description="m probabilities")
    of_two_persons: tuple[float, ...] = Field(min_length=2, description="u probabilities")


class LinkModel(Settings):
    """What linking needs, and nothing else."""

    version: Literal[1] = 1
    trained_on_members: int
    prior: float = Field(gt=0, lt=1, description="probability that two members drawn at random are one person")
    block: tuple[tuple[Kind, ...], ...] = Field(min_length=1, description="pairs are looked at that agree in one of these")
    most_per_block: int = Field(ge=2)
    weights: tuple[Weights, ...] = Field(min_length=1)

    def kinds(self) -> list[str]:
        """Every kind of contact that is compared or blocked on, sorted."""
        compared = {kind for each in self.weights for kind in each.compare.split("+")}
        return sorted(compared | {kind for rule in self.block for kind in rule})

    def text(self) -> str:
        """The file's content: the same model gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"

    def write(self, path: Path) -> None:
        """Puts the model in `path`, whole or not at all. Raises RunFailed when the disk does not take it."""
        partial = path.with_suffix(".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(self.text(), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise RunFailed(f"{path} cannot be written: {error.strerror}; check permissions and space") from None


def read_model(path: Path) -> LinkModel:
    """The model in `path`. Raises InputError when there is none or it is not one."""
    advice = "make it with: crm identity train"
    try:
        return LinkModel.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is not there: members are linked by fixed weights only; {advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; {advice}") from None
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: '{where}': {first['msg']}; it is no linking model, {advice}") from None
