"""`explain`: why members are in a list – which conditions held for them, with which feature values – worked
out when asked, from the pinned data, so that it explains the list as it was made and nothing needs to be
stored per member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir

from crm_core.campaigns.audience import computed
from crm_core.campaigns.pinned import pinned
from crm_core.campaigns.selection import REFERENCE
from crm_core.config import Config
from crm_core.errors import InputError
from crm_core.measures import FEATURES, features
from crm_core.schema.expressions import clauses, condition, names_in
from crm_core.segments import describe, resolve, thresholds

if TYPE_CHECKING:
    from crm_core.store import Lake, Ledger, Tables, Vault

MOST_MEMBERS = 200
RFM_FEATURES = ("days_since_last_order", "order_count", "net_amount")


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
    """member_id -> (condition -> held, feature -> value), in one query over the few members asked for."""
    known = features(tables)
    group, texts, names = _conditions(known, config, segment)
    ours = known.filter(known.member_id.isin(list(member_ids)))
    held = {f"_{at}": condition(text, ours, where=f"segment '{segment}'") for at, text in enumerate(texts)}
    rows = ours.select("member_id", *names, **held).to_pyarrow().to_pylist()
    return {
        row["member_id"]: (
            group | {text: row[f"_{at}"] for at, text in enumerate(texts)},
            {name: row[name] for name in names},
        )
        for row in rows
    }


def _conditions(known: ir.Table, config: Config, segment: str) -> tuple[dict[str, bool], list[str], list[str]]:
    """What makes a member one of the segment: a group's definition with the day's limits, or the clauses of a
    rule.
    """
    if not REFERENCE.fullmatch(segment):
        return {}, clauses(segment), sorted(names_in(segment) & set(FEATURES))
    scheme, name = resolve(segment, config.segments)
    if scheme == "rule":
        when = config.segments.rules[name].when
        return {}, clauses(when), sorted(names_in(when) & set(FEATURES))
    limits = thresholds(known, config.segments)
    shown = describe(segment, config.segments, config.project.language, limits)
    # everybody considered is a member of the group, so its definition holds
    return {shown.definition: True}, [], list(RFM_FEATURES)


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
