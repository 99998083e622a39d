"""Refused rows by kind of reason.

The sentence in the rejects table is written for whoever mends the row, in one language and with what stood in the cell.
Reports need the kind, which can be said in any language and never quotes a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from crm_core.schema import TABLES
from crm_core.store import Lake
from crm_core.store.ledger import Snapshot

KINDS = {
    "erased": r"\berased\b",
    "malformed": r"^(the row has \d+ cells|the row is longer|a quotation mark|not valid|invalid|.*\bJSON\b)",
    "future": r"' lies in the future",
    "unknown_word": r"' is not known(; known: | \(known: )",
    "empty": r": is empty(;|$)",
    "unreadable": r"(' is not |: not a bare number)",
    "broken_rule": rf"^({'|'.join(TABLES)})(\.[a-z_]+)?: ",
}
"""Kind → pattern of the sentence, the first that fits; what fits none was refused by a rule of the source."""
SOURCE_RULE = "source_rule"
MOST = 200


@dataclass(frozen=True)
class Refused:
    """Rows refused for one kind of reason. `field`: of the source's settings; `heading`: of the file, '' where the fault
    is not one cell; `rule`: the sentence of a rule, '' for the other kinds; `files`: how many files have such rows."""

    kind: str
    field: str
    heading: str
    rule: str
    rows: int
    files: int


def refused(lake: Lake, snapshot: Snapshot | None, load_ids: Sequence[str]) -> list[Refused]:
    """The rejects of the loads `load_ids`, most frequent first, at most MOST kinds."""
    rejects = lake.table("rejects", snapshot)
    rows = rejects.filter(rejects.load_id.isin(list(load_ids)))
    kind = kind_of(rows.reason)
    sentence = rows.reason.re_replace("'[^']*'", "'…'").re_replace("[0-9]{7,}", "…").re_replace(r"\S+@\S+", "…")
    ruled = kind.isin([SOURCE_RULE, "broken_rule"])
    cell = kind.isin(["future", "unknown_word", "empty", "unreadable"])
    named = rows.select(
        "file",
        kind=kind,
        field=rows.field.fill_null(""),
        heading=cell.ifelse(rows.reason.re_extract(r"^([^:'\"]{1,40}): ", 1), ""),
        rule=ruled.ifelse(sentence.re_replace("; .*$", ""), ""),
    )
    counted = named.group_by("kind", "field", "heading", "rule").agg(rows=named.count(), files=named.file.nunique())
    ordered = counted.order_by(ibis.desc("rows"), "kind", "field", "heading", "rule").limit(MOST)
    return [Refused(**row) for row in ordered.to_pyarrow().to_pylist()]


def kind_of(reason: ir.StringValue) -> ir.StringValue:
    """The kind of a reason's sentence: a key of KINDS, or SOURCE_RULE."""
    branches = [(reason.re_search(pattern), kind) for kind, pattern in KINDS.items()]
    found: ir.StringValue = ibis.cases(*branches, else_=SOURCE_RULE)
    return found
