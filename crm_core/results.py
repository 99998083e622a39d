"""Segments and tags of one date from its features, and features from those of the date before; `Workspace` stores them."""

from __future__ import annotations

from datetime import date
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core import measures, segments, tags
from crm_core.config import Config
from crm_core.store import Tables

MOST_ANEW = 0.5
"""Share of members beyond which features are worked out from the beginning."""


def groups(tables: Tables, config: Config, engine: Any, features: ir.Table, scores: ir.Table | None = None) -> dict[str, ir.Table]:
    """Features, segments, and the tags with what was found wrong with them; `scores` for tags of models."""
    basis = segments.basis_of(features, config.segments, tables)
    # once for all schemes and rules: each is read from it by itself
    grouped = segments.wide(features, config.segments, basis, tables=tables)
    grouped = temporary(engine, tables, "segments", grouped)
    assigned = segments.long(grouped)
    wide = tags.compute(features, config.tags, tables.as_of, tag_sources(tables, config, assigned, scores))
    wide = temporary(engine, tables, "tags", wide)
    checks = tags.judge(wide, config.tags, tables.as_of, tables.results_before("tag_checks"))
    return {
        "member_features": features,
        "member_segments": assigned,
        "segment_models": ibis.memtable(basis.rows()),
        "member_tags": tags.published(wide, checks),
        "tag_checks": tags.checks_table(checks),
    }


def tag_sources(tables: Tables, config: Config, assigned: ir.Table, scores: ir.Table | None) -> tags.Sources:
    """What tags look at beside the features."""
    lists = tags.lists_of(tables.uploaded_lists, tables.as_of)
    known = segments.references(config.segments)
    return tags.Sources(scores, lists, tables, assigned, _kept(tables, config), known)


def _kept(tables: Tables, config: Config) -> ir.Table | None:
    """What each tag that is kept said on the last day before on which it was published; on others its column is empty."""
    names = [name for name, tag in config.tags.tags.items() if tag.update == "keep"]
    checks = tables.results_before("tag_checks")
    fit = checks.filter(checks.problem == "", checks.tag.isin(names or [""]))
    days: dict[date, list[str]] = {}
    for row in fit.group_by("tag").agg(day=fit.as_of.max()).order_by("tag").to_pyarrow().to_pylist() if names else []:
        days.setdefault(row["day"], []).append(row["tag"])
    parts = []
    for day, told in sorted(days.items()):
        rows = tables.result("member_tags", day)
        parts.append(rows.select("member_id", *[name for name in told if name in rows.columns]))
    if len(parts) < 2:
        return parts[0] if parts else None
    together = ibis.union(*[part.select("member_id") for part in parts], distinct=True)
    for part in parts:
        together = measures.beside(together, part)
    return together


def past_tags(tables: Tables, config: Config, engine: Any, day: date) -> tuple[ir.Table, ir.Table]:
    """(features, tags) of an earlier day as one would have had them on it; tags of models, which would have to be fitted
    anew for that day, are left out: their cards tell how they did."""
    then = tables.at(day)
    features = temporary(engine, then, "features", measures.features(then))
    told = {name: tag for name, tag in config.tags.tags.items() if not tag.model}
    settings = config.tags.model_copy(update={"tags": told})
    grouped = segments.wide(features, config.segments, segments.basis_of(features, config.segments, then), tables=then)
    wide = tags.compute(features, settings, day, tag_sources(then, config, segments.long(grouped), None))
    return features, temporary(engine, then, "tags", wide)


def carried(tables: Tables, before: Tables, engine: Any) -> ir.Table | None:
    """Features from those stored for `before`, where only few members changed since; None where all must be worked out."""
    if not measures.can_carry(tables, before):
        return None
    stored = tables.result("member_features", before.as_of).drop("as_of")
    anew = temporary(engine, tables, "anew", measures.touched(tables, before, stored))
    if anew.count().to_pyarrow().as_py() > MOST_ANEW * stored.count().to_pyarrow().as_py():
        return None
    out = temporary(engine, tables, "out", measures.out_of_windows(tables, before))
    return measures.carried(tables, stored, anew, out)


def temporary(engine: Any, tables: Tables, name: str, rows: ir.Table) -> ir.Table:
    """`rows` computed once, in a table that lasts as long as the engine's session."""
    return engine.create_table(f"{name}_{tables.as_of:%Y%m%d}", rows, temp=True, overwrite=True)
