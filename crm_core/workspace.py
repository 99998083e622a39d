"""`Workspace`: the facade that notebooks, flows and the command line open – settings, lake, vault, ledger and engine of one folder.

The repository is itself a workspace. CRM_WORKSPACE (or `path`) puts data/ and reports/ elsewhere and lets that folder's
conf/ replace the repository's file by file. CRM_SNAPSHOT and CRM_CONFIG pin a run's kernels to the state the run reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from crm_core.config import Config
from crm_core.errors import InputError, unknown
from crm_core.measures import ROOMS, days_asked, recipe
from crm_core.store import Lake, Ledger, Tables, Vault, connect, is_kept, table_hash
from crm_core.store.ledger import Audience, ConfigText, Snapshot

if TYPE_CHECKING:
    from crm_core.models import ModelCard, Outcome
    from crm_core.segments import Basis
    from crm_core.tags import Check, Sources

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = (
    "member_features", "member_segments", "segment_models", "member_tags", "tag_checks", "member_scores", "model_cards",
)  # fmt: skip
MODELLED = RESULTS[-2:]
DECIDE = ("project.yml", "identity.yml", "segments.yml", "tags.yml", "models.yml")
DECIDE_FEATURES = DECIDE[:2]
VIEWS = (
    "snapshot", "tables", "features", "segments", "segment_basis", "tags", "tag_checks", "tag_sources", "scores", "models",
    "_computed", "_computed_features", "_outcomes",
)  # fmt: skip


class Workspace:
    """One workspace, read at one snapshot and as of one day. Made by `Workspace.open`."""

    def __init__(self, root: Path, config: Config, as_of: date | None, snapshot_id: int | None) -> None:
        self.root, self.config = root, config
        self._wanted_date = as_of
        self._wanted_snapshot = snapshot_id
        self.memory_share = int(os.environ.get("CRM_MEMORY_SHARE", "1"))

    @classmethod
    def open(
        cls, path: str | Path | None = None, as_of: str | date = "", *, snapshot: int | None = None, config: Config | None = None
    ) -> Workspace:
        """The workspace in `path` (default: CRM_WORKSPACE, else the repository), as of the end of the local day `as_of`.

        `as_of`: 'YYYY-MM-DD' or a date; empty: the last day that the data cover. `snapshot`: a published snapshot's number
        (default: CRM_SNAPSHOT, else the newest). Raises InputError when the date is none or the folder is not there.
        """
        root = Path(path or os.environ.get("CRM_WORKSPACE") or REPOSITORY).expanduser().resolve()
        if not root.is_dir():
            raise InputError(f"workspace {root} is not a folder; make it first, or name another with --workspace")
        pinned = os.environ.get("CRM_SNAPSHOT", "")
        number = snapshot if snapshot is not None else (int(pinned) if pinned else None)
        day = as_of if isinstance(as_of, date) else parse_date(as_of) if as_of else None
        opened = cls(root, config or read_config(root), day, number)
        kept = os.environ.get("CRM_CONFIG", "")
        if kept and config is None and kept != opened.config.hash():  # edited since the run began
            opened.config = opened._config_of(kept)
        return opened

    @property
    def data_dir(self) -> Path:
        """Lake, vault, ledger, inbox and exports."""
        return self.root / "data"

    @property
    def reports_dir(self) -> Path:
        """Where reports are published."""
        return self.root / "reports"

    @property
    def exports_dir(self) -> Path:
        """Where exported target lists lie."""
        return self.data_dir / "exports"

    @property
    def inbox_dir(self) -> Path:
        """Where files wait to be loaded: one folder per source."""
        return self.data_dir / "inbox"

    @property
    def notebooks_dir(self) -> Path:
        """Notebooks of this workspace, or the repository's."""
        own = self.root / "notebooks"
        return own if own.is_dir() else REPOSITORY / "notebooks"

    @cached_property
    def ledger(self) -> Ledger:
        """Who did what, when, from which versions."""
        settings = self.config.project.ledger
        if settings.url_env and not os.environ.get(settings.url_env):
            raise InputError(
                f"conf/project.yml: ledger.url_env names {settings.url_env}, which is not set; set it to a SQLAlchemy URL"
            )
        url = os.environ[settings.url_env] if settings.url_env else settings.url
        return Ledger(url) if url else Ledger.in_folder(self.data_dir / "ledger")

    @cached_property
    def engine(self) -> Any:
        """The ibis backend."""
        return connect(self.config.project.engine, self.data_dir / "spill", self.memory_share)

    @cached_property
    def lake(self) -> Lake:
        """The Delta tables."""
        return Lake(self.data_dir / "lake", self.ledger, self.engine)

    @cached_property
    def vault(self) -> Vault:
        """Contacts and account ids."""
        return Vault(self.data_dir / "vault", self.ledger, self.engine)

    @cached_property
    def snapshot(self) -> Snapshot | None:
        """The snapshot that this workspace reads; None while it is empty."""
        return self.lake.snapshot(self._wanted_snapshot)

    @property
    def as_of(self) -> date:
        """The local day at whose end everything is read. Raises InputError in a workspace without data."""
        if self._wanted_date is not None:
            return self._wanted_date
        if self.snapshot is None or self.snapshot.covers_until is None:
            raise InputError("this workspace holds no data yet; load some with `crm ingest SOURCE PATH`, or try `crm demo`")
        covers: date = self.snapshot.covers_until
        return covers

    @cached_property
    def tables(self) -> Tables:
        """The canonical tables, with nothing later than `as_of` in them."""
        return Tables(self.lake, self.snapshot, self.as_of, self.config.project.zone, self.config.identity)

    @cached_property
    def features(self) -> ir.Table:
        """One row per member: stored for this date, else worked out now."""
        return self.tables.result("member_features") if self._is_stored("member_features") else self._computed_features

    @cached_property
    def segments(self) -> ir.Table:
        """member_id, scheme, segment: stored for this date, else worked out now."""
        return self._result("member_segments")

    @cached_property
    def segment_basis(self) -> Basis:
        """The limits, rhythm and clusters that decided `segments`."""
        from crm_core.segments import Basis, basis_of, stored_clusters

        clusters = stored_clusters(self._result("segment_models"))
        return basis_of(self.features, self.config.segments, self.tables, given=Basis(clusters=clusters))

    @cached_property
    def tags(self) -> ir.Table:
        """One row per member, one column a tag, empty where withheld: stored for this date, else worked out now."""
        return self._result("member_tags")

    @cached_property
    def tag_checks(self) -> dict[str, Check]:
        """Coverage and drift of each tag, and why it is withheld if it is, by name."""
        from crm_core.tags import checks_of

        return {check.tag: check for check in checks_of(self._result("tag_checks"))}

    @cached_property
    def tag_sources(self) -> Sources:
        """What tags look at beside the features."""
        from crm_core.results import tag_sources

        scores = self.scores if any(tag.model for tag in self.config.tags.tags.values()) else None
        return tag_sources(self.tables, self.config, self.segments, scores)

    @cached_property
    def scores(self) -> ir.Table:
        """member_id, model, score, low, high, label, reason: stored for this date, else worked out now."""
        from crm_core.models import together

        stored = self._is_stored("model_cards")  # there are cards where no model gives scores
        return self.tables.result("member_scores") if stored else together(self._outcomes)

    @cached_property
    def models(self) -> dict[str, ModelCard]:
        """What became of each model, by name: stored for this date, else worked out now."""
        from crm_core.models import ModelCard

        if not self._is_stored("model_cards"):
            return {outcome.card.model: outcome.card for outcome in self._outcomes}
        texts = self.tables.result("model_cards").order_by("model").to_pyarrow()["card"].to_pylist()
        return {card.model: card for card in map(ModelCard.from_json, texts)}

    def previous_date(self, name: str = "member_segments") -> date | None:
        """The newest date before `as_of` for which the dated result `name` is stored."""
        earlier = [day for day in self.tables.result_dates(name) if day < self.as_of]
        return earlier[-1] if earlier else None

    def compute(self, carry: bool = False) -> dict[str, ir.Table]:
        """Features, segments, tags and scores of `as_of`, worked out from the canonical tables alone; with `carry` from the
        features stored last too, which gives the same and takes less."""
        from crm_core.models import cards, together

        features = self._features(carry)
        outcomes = self._run_models(features)
        scores = together(outcomes)
        return {**self._groups(features, scores), "member_scores": scores, "model_cards": cards(outcomes)}

    def _features(self, carry: bool = False) -> ir.Table:
        from crm_core import measures, results

        before = self._features_before() if carry else None
        rows = results.carried(self.tables, before, self.engine) if before else None
        return results.temporary(self.engine, self.tables, "features", measures.features(self.tables) if rows is None else rows)

    def _groups(self, features: ir.Table, scores: ir.Table | None = None) -> dict[str, ir.Table]:
        from crm_core.results import groups

        return groups(self.tables, self.config, self.engine, features, scores)

    def _features_before(self) -> Tables | None:
        """The tables that the newest stored features (up to `as_of`) were worked out from, if they are still there."""
        from crm_core.measures import SOURCES

        days = self.tables.result_dates("member_features")
        if not days:
            return None
        noted = self.tables.result_basis("member_features", days[-1])
        for snapshot in self.ledger.snapshots_for(_purpose(days[-1])):
            if self._basis("member_features", snapshot) == noted and is_kept(self.lake, list(SOURCES), snapshot):
                return Tables(self.lake, snapshot, days[-1], self.config.project.zone, self.config.identity)
        return None

    def renew_links(self, actor: str = "crm") -> None:
        """Links members by likeness anew, where conf/identity.yml asks for it and a model was trained."""
        from crm_core.identity import link_members, model_path

        settings = self.config.identity.probabilistic
        if settings.enabled and model_path(self.lake).exists():
            link_members(self.lake, self.vault, settings, self.config.project.engine, actor)

    def refresh(self, actor: str = "crm") -> dict[str, str]:
        """Works out and stores features, segments, tags and scores of `as_of`, and moves on to the snapshot that holds them.

        Returns the hash of each result. Doing it again for the same date and data changes nothing; models, which take longest,
        are not run again.
        """
        day = self.as_of
        self.renew_links(actor)
        with self.lake.write(_purpose(day), actor) as writer:
            self._read(None)
            hashes = {}
            kept = self._is_stored("model_cards")
            if kept:
                made = self._groups(self._features(carry=True), self.tables.result("member_scores"))
                made |= dict.fromkeys(MODELLED)
            else:
                made = self.compute(carry=True)
            for name, rows in made.items():
                if rows is None:
                    hashes[name] = table_hash(self.tables.result(name).drop("as_of"))
                    continue
                staged = rows if isinstance(rows.op(), ops.PhysicalTable) else writer.stage(rows)
                hashes[name] = table_hash(staged)
                writer.replace_date(name, day, staged.mutate(_basis=ibis.literal(self._basis(name))))
            self._thin_out(writer, day)
            writer.audit("refresh", day.isoformat(), {"results": hashes})
        # not the newest one: another process may have published since, and a run pins what its results came from
        self._read(writer.published.id if writer.published else None)
        return hashes

    def past_tags(self, day: date) -> tuple[ir.Table, ir.Table]:
        """Features and tags of an earlier day as one would have had them on it, without those of models."""
        from crm_core.results import past_tags

        return past_tags(self.tables, self.config, self.engine, day)

    def pinned(self, snapshot_id: int, config_hash: str, as_of: date) -> Workspace:
        """This workspace as a past run saw it: its snapshot, its settings, its date."""
        return Workspace(self.root, self._config_of(config_hash), as_of, snapshot_id)

    def _config_of(self, config_hash: str) -> Config:
        kept: ConfigText | None = self.ledger.get(ConfigText, config_hash)
        if kept is None:
            raise unknown("settings hash", config_hash[:12], [], "the ledger")
        return Config(kept.texts)

    def _result(self, name: str) -> ir.Table:
        return self.tables.result(name) if self._is_stored(name) else self._computed[name]

    def _is_stored(self, name: str) -> bool:
        return self.as_of in self.tables.result_dates(name) and self.tables.result_basis(name) == self._basis(name)

    def _basis(self, name: str, snapshot: Snapshot | None = None) -> str:
        """What results are worked out from: the versions of the data and the settings that decide. Stored beside them, so
        that results from before a load, an undo or a change of conf are not taken for today's."""
        made = {*RESULTS, "audiences", "audiences_versions", "rejects"}
        made |= {"tag_lists"} if name == "member_features" else set()
        snapshot = snapshot or self.snapshot
        texts = self.config.texts()
        decides = [texts.get(file, "") for file in (DECIDE_FEATURES if name == "member_features" else DECIDE)]
        data = {table: version for table, version in (snapshot.versions if snapshot else {}).items() if table not in made}
        made_by = [recipe()]
        if name in ("member_segments", "segment_models", "member_tags", "tag_checks"):
            # clusters go on from the day stored last, which may have been worked out since
            last = [day for day in self.tables.result_dates("segment_models") if day < self.as_of][-1:]
            asked = sorted({day for day in self._days_asked if day < self.as_of} | {*last})
            made_by = [recipe(ROOMS), *(f"{day} {self.tables.result_basis('member_segments', day)}" for day in asked)]
        return hashlib.sha256(json.dumps([data, decides, made_by], sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def _days_asked(self) -> set[date]:
        """The days whose stored segments rules and tags refer to."""
        from crm_core.tags.inputs import texts

        rules = [("conf/segments.yml", rule.when) for rule in self.config.segments.rules.values()]
        return days_asked([*rules, *(text for name, tag in self.config.tags.tags.items() for text in texts(name, tag))])

    @cached_property
    def _computed_features(self) -> ir.Table:
        return self._features()

    @cached_property
    def _computed(self) -> dict[str, ir.Table]:
        modelled = any(tag.model for tag in self.config.tags.tags.values())
        return self._groups(self.features, self.scores if modelled else None)

    @cached_property
    def _outcomes(self) -> list[Outcome]:
        return self._run_models(self.features)

    def _run_models(self, features: ir.Table) -> list[Outcome]:
        from crm_core.models import Task, run_all

        return run_all(Task(self.tables, features, self.config.models, self.engine, self.data_dir / "spill"))

    def _read(self, snapshot_id: int | None) -> None:
        self._wanted_date, self._wanted_snapshot = self.as_of, snapshot_id
        for name in VIEWS:
            self.__dict__.pop(name, None)

    def _thin_out(self, writer: Any, day: date) -> None:
        from sqlalchemy import select

        # a run needs no stored rows to be rebuilt; a list's date keeps what explains it, a rule's what it asks for
        with self.ledger.session() as session:
            pinned = set(session.scalars(select(Audience.as_of))) | {day} | self._days_asked
        for name in RESULTS:
            stored = self.lake.dates(name)
            old = stored[: -self.config.project.keep_dates]
            writer.remove_dates(name, [date_ for date_ in old if date_ not in pinned])


def read_config(root: Path) -> Config:
    """The repository's settings with those of the workspace `root` over them."""
    folders = [REPOSITORY / "conf"]
    if (root / "conf").is_dir() and root != REPOSITORY:
        folders.append(root / "conf")
    return Config.read(folders)


def parse_date(text: str) -> date:
    """'YYYY-MM-DD' as a date. Raises InputError otherwise."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"'{text}' is not a date; write it as YYYY-MM-DD, e.g. 2026-10-31") from None


def _purpose(day: date) -> str:
    return f"results of {day.isoformat()}"
