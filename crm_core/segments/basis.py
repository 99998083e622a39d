"""What a day's segments are decided by: limits, rhythm, clusters and rules, stored beside the segments as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa

from crm_core.config.segments import SegmentSettings
from crm_core.segments.clusters import MODEL, Clusters, clusters_of_day
from crm_core.segments.lifecycle import Rhythm, rhythm
from crm_core.segments.thresholds import Thresholds, thresholds

if TYPE_CHECKING:
    from crm_core.store import Tables

OF_RFM = ("rfm", "type", "rfm5", "rfm3")
RULES, SCHEMES = "rules", "schemes"
DECIDING = {"rfm": "rfm", "rfm5": "rfm", "rfm3": "rfm", "type": "type", "lifecycle": "lifecycle", "cluster": "clusters"}
"""Scheme → the setting that decides it."""


@dataclass(frozen=True)
class Basis:
    """Each None where it is not worked out (yet); `clusters` also where too few members have a paid order. `rules`: name →
    condition; `schemes`: name → the settings that decide it, as JSON."""

    limits: Thresholds | None = None
    rhythm: Rhythm | None = None
    clusters: Clusters | None = None
    rules: Mapping[str, str] | None = None
    schemes: Mapping[str, str] | None = None

    def rows(self) -> pa.Table:
        """model, params (JSON): one row for each that is there, for the dated result `segment_models`."""
        found = {"limits": self.limits, "rhythm": self.rhythm}
        texts = {name: json.dumps(asdict(each), default=str, sort_keys=True) for name, each in found.items() if each}
        if self.clusters:
            texts[MODEL] = json.dumps(self.clusters.params(), sort_keys=True)
        noted = {RULES: self.rules, SCHEMES: self.schemes}
        texts |= {name: json.dumps(each, sort_keys=True) for name, each in noted.items() if each}
        return pa.table({"model": pa.array(texts, pa.string()), "params": pa.array(texts.values(), pa.string())})


def basis_of(
    features: ir.Table,
    settings: SegmentSettings,
    tables: Tables | None = None,
    *,
    schemes: Collection[str] | None = None,
    given: Basis | None = None,
) -> Basis:
    """What is needed for `schemes` (default: those of `settings`), worked out where `given` does not have it.

    Limits and rhythm take small queries; clusters are those of the day (`clusters_of_day`).
    """
    wanted, found = set(settings.schemes if schemes is None else schemes), given or Basis()
    found = replace(found, rules=found.rules or {name: rule.when for name, rule in settings.rules.items()})
    found = replace(found, schemes=found.schemes or deciding(settings))
    if wanted & {*OF_RFM} and not found.limits:
        found = replace(found, limits=thresholds(features, settings))
    if "lifecycle" in wanted and not found.rhythm:
        found = replace(found, rhythm=rhythm(features, settings.lifecycle))
    if "cluster" in wanted and not found.clusters:
        found = replace(found, clusters=clusters_of_day(features, settings.clusters, tables))
    return found


def deciding(settings: SegmentSettings) -> dict[str, str]:
    """Scheme → the settings that decide it, as JSON; of clusters what they look at, as centres are made anew now and then."""
    found = {scheme: getattr(settings, name).model_dump_json() for scheme, name in DECIDING.items()}
    return {**found, "cluster": json.dumps(settings.clusters.features, sort_keys=True)}
