"""`explain`: why members are in a list – which conditions held for them, with which feature values – worked
out when asked, from the pinned data, so that it explains the list as it was made and nothing needs to be
stored per member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crm_core.campaigns.audience import computed
from crm_core.campaigns.pinned import pinned
from crm_core.campaigns.selection import REFERENCE
from crm_core.config import Config
from crm_core.config.segments import RuleSegment, Words
from crm_core.errors import InputError
from crm_core.measures import features
from crm_core.segments import resolve, segment_reasons

if TYPE_CHECKING:
    from crm_core.store import Lake, Ledger, Tables, Vault

MOST_MEMBERS = 200
OWN = "of_this_campaign"


@dataclass(frozen=True)
class Explanation:
    """One member of a list: its place, the segment's conditions with the values they were decided on, and the
    rules passed.
    """

    member_id: str
    status: str
    arm: str | None
    stratum: str | None
    reason: str | None
    segment: str
    conditions: tuple[tuple[str, bool], ...]
    values: dict[str, Any]
    passed: tuple[str, ...]


def explain(audience_id: str, member_ids: Sequence[str], lake: Lake, ledger: Ledger, vault: Vault) -> list[Explanation]:
    """Why each of `member_ids` is in the list, held out or rejected; members who were not considered are left
    out.

    Raises UnknownName for a list that was never frozen, InputError for more than 200 members at once.
    """
    if len(member_ids) > MOST_MEMBERS:
        raise InputError(f"{len(member_ids)} members at once; explain takes at most {MOST_MEMBERS}")
    made_from = pinned(audience_id, lake, ledger)
    known, tables, config = made_from.audience, made_from.tables, made_from.config
    with computed(tables, config, lake, vault, known.campaign, known.wave, made_from.until) as found:
        ours = found.rows.filter(found.rows.member_id.isin(list(member_ids))).order_by("member_id")
        rows = ours.to_pyarrow().to_pylist()
    segment = made_from.settings.segment
    facts = _facts(tables, config, segment, member_ids)
    names = [rule.name for rule in found.rules]
    return [_explanation(row, segment, facts[row["member_id"]], names) for row in rows]


def _facts(
    tables: Tables, config: Config, segment: str, member_ids: Sequence[str]
) -> dict[str, tuple[dict[str, bool], dict[str, Any]]]:
    """member_id -> (condition -> held, feature -> value); an expression is read as a rule of its own."""
    settings = config.segments
    if REFERENCE.fullmatch(segment):
        reference = ":".join(resolve(segment, settings))
    else:
        reference, title = f"rule:{OWN}", Words(zh=segment, en=segment)
        settings = settings.model_copy(update={"rules": {**settings.rules, OWN: RuleSegment(title=title, when=segment)}})
    found = segment_reasons(
        features(tables), member_ids, settings, tables=tables, only=[reference], language=config.project.language
    )
    return {
        member_id: ({text: bool(held) for text, held in reasons[0].because}, reasons[0].values)
        for member_id, reasons in found.items()
        if reasons
    }


def _explanation(
    row: dict[str, Any], segment: str, facts: tuple[dict[str, bool], dict[str, Any]], rules: Sequence[str]
) -> Explanation:
    passed = rules if row["reason"] is None else rules[: rules.index(row["reason"])]
    return Explanation(
        row["member_id"],
        row["status"],
        row["arm"],
        row["stratum"],
        row["reason"],
        segment,
        tuple(facts[0].items()),
        facts[1],
        tuple(passed),
    )
