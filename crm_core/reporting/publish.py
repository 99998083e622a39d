"""run.json beside the reports of a run, and reports/index.html over all runs.

run.json is the manifest that makes a report reproducible: what it read (snapshot, versions, configuration),
with which parameters, and the hashes of what came out. The index is made from the run.json files alone, so
it can always be made again: per notebook the last good report, marked out of date when a later run failed,
and the runs below, newest first.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from crm_core import __version__
from crm_core.errors import InputError
from crm_core.reporting import page
from crm_core.reporting.labels import Labels
from crm_core.reporting.runner import NotebookResult, write_atomically

MANIFEST = "run.json"


@dataclass(frozen=True)
class RunFacts:
    """What a run pins. `as_of` ISO date; `snapshot` id; `versions` table → version; `config_hash` of all
    settings."""

    run_id: str
    as_of: str
    language: str
    snapshot: int | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    config_hash: str = ""
    seed: int | None = None
    project: str = ""
    time_zone: str = "UTC"
    hashes: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    actor: str = ""
    gate: Mapping[str, Any] = field(default_factory=dict)


def new_run_id(now: dt.datetime | None = None) -> str:
    """A name for a run that sorts by time: 20261101T013000Z-4f2a90c1."""
    moment = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    return f"{moment:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def write_run(
    reports: Path,
    facts: RunFacts,
    results: Sequence[NotebookResult],
    *,
    started_at: dt.datetime | None = None,
    now: dt.datetime | None = None,
) -> Path:
    """Write `<reports>/<run_id>/run.json` and return its path. Times in UTC, seconds as measured, paths
    relative to `reports`."""
    folder = reports / facts.run_id
    folder.mkdir(parents=True, exist_ok=True)
    finished = now or dt.datetime.now(dt.UTC)
    manifest = {
        **asdict(facts),
        "status": "ok" if all(result.ok for result in results) else "failed",
        "started_at": (started_at or finished).astimezone(dt.UTC).isoformat(timespec="seconds"),
        "finished_at": finished.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "package_version": __version__,
        "git_commit": git_commit(),
        "seconds": {
            "kernel_start": round(sum(result.seconds_in_kernel_start for result in results), 3),
            "cells": round(sum(result.seconds_in_cells for result in results), 3),
        },
        "notebooks": {result.notebook: _entry(result, reports) for result in results},
    }
    path = folder / MANIFEST
    write_atomically(path, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    return path


def _entry(result: NotebookResult, reports: Path) -> dict[str, Any]:
    files = {kind: file for kind, file in (("html", result.html), ("ipynb", result.ipynb)) if file is not None}
    return {
        "status": result.status,
        "error": result.error,
        "parameters": result.parameters,
        "seconds": {"kernel_start": result.seconds_in_kernel_start, "cells": result.seconds_in_cells, "all": result.seconds},
        "files": {kind: file.relative_to(reports).as_posix() for kind, file in files.items()},
        "sha256": {kind: hashlib.sha256(file.read_bytes()).hexdigest() for kind, file in files.items()},
        **result.summary,
    }


def read_runs(reports: Path) -> list[dict[str, Any]]:
    """The manifests below `reports`, newest first; a folder without a readable one is no run."""
    runs = []
    for path in reports.glob(f"*/{MANIFEST}"):
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(run, dict) and {"run_id", "finished_at", "notebooks"} <= run.keys():
            runs.append(run)
    return sorted(runs, key=lambda run: (run["finished_at"], run["run_id"]), reverse=True)


@dataclass(frozen=True)
class Listed:
    """One report on the index: the last good one of a notebook, and what has gone wrong since."""

    name: str
    title: str
    sentence: str
    cards: Sequence[Mapping[str, str]]
    as_of: str
    made_at: str
    path: str
    failed_at: str = ""
    error: str = ""
    held: bool = False

    @property
    def stale(self) -> bool:
        """A later run of this notebook failed."""
        return bool(self.failed_at)


def latest(runs: Sequence[Mapping[str, Any]]) -> list[Listed]:
    """Per notebook its newest good report (runs newest first), in the order in which the newest run names
    them."""
    names = dict.fromkeys(name for run in runs for name in run["notebooks"])
    return [listed for name in names if (listed := _latest(name, runs)) is not None]


def _latest(name: str, runs: Sequence[Mapping[str, Any]]) -> Listed | None:
    failed: Mapping[str, Any] | None = None
    for run in runs:
        entry = run["notebooks"].get(name)
        if entry is None:
            continue
        if entry["status"] != "ok":
            failed = failed or run
            continue
        return Listed(
            name=name,
            title=entry.get("title", name),
            sentence=entry.get("sentence", ""),
            cards=entry.get("cards", []),
            as_of=entry.get("as_of") or run["as_of"],
            made_at=_finished(run),
            path=entry["files"]["html"],
            failed_at=_finished(failed) if failed else "",
            error=failed["notebooks"][name]["error"] if failed else "",
            held=failed is not None and failed["notebooks"][name]["status"] == "held",
        )
    return None


def write_index(reports: Path, *, language: str = "zh", project: str = "", listed_runs: int = 30) -> Path:
    """Write `<reports>/index.html` from the manifests and return its path. Raises InputError when `reports`
    is no folder."""
    if not reports.is_dir():
        raise InputError(f"{reports} is not a folder; give the workspace's reports folder")
    runs = read_runs(reports)
    failed_only = _failed_without_report(runs)
    text = (
        page.environment()
        .get_template("index.html.j2")
        .render(
            labels=Labels(language),
            project=project or (runs[0].get("project") if runs else "") or "CRM",
            reports=latest(runs),
            failed_only=failed_only,
            gate=_gate(runs[0], Labels(language)) if runs else None,
            runs=[_listed_run(run) for run in runs[:listed_runs]],
            made_at=local(dt.datetime.now(dt.UTC).isoformat(), runs[0].get("time_zone", "UTC") if runs else "UTC"),
            **page.assets(),
        )
    )
    path = reports / "index.html"
    write_atomically(path, text)
    return path


def _gate(run: Mapping[str, Any], labels: Labels) -> Mapping[str, Any] | None:
    """What the newest run's gate found wrong, for the top of the index."""
    gate = run.get("gate") or {}
    failed = [labels.outcome(check) for check in gate.get("checks", []) if not check["passed"]]
    return {"lines": failed, "ignored": gate["ignored"], "at": _finished(run)} if failed else None


def _failed_without_report(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    good = {name for run in runs for name, entry in run["notebooks"].items() if entry["status"] == "ok"}
    found: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        for name, entry in run["notebooks"].items():
            if name not in good and name not in found:
                held = entry["status"] == "held"
                found[name] = {"name": name, "error": entry["error"], "at": _finished(run), "held": held}
    return list(found.values())


def _listed_run(run: Mapping[str, Any]) -> dict[str, Any]:
    notebooks = [
        {
            "name": name,
            "ok": entry["status"] == "ok",
            "held": entry["status"] == "held",
            "path": entry["files"].get("html", ""),
            "title": entry.get("title", name),
        }
        for name, entry in run["notebooks"].items()
    ]
    return {
        "run_id": run["run_id"],
        "as_of": run["as_of"],
        "made_at": _finished(run),
        "seconds": run.get("seconds", {}),
        "notebooks": notebooks,
    }


def local(moment: str, time_zone: str) -> str:
    """An ISO moment as date and minute of `time_zone`."""
    return dt.datetime.fromisoformat(moment).astimezone(ZoneInfo(time_zone)).strftime("%Y-%m-%d %H:%M")


def _finished(run: Mapping[str, Any]) -> str:
    return local(run["finished_at"], run.get("time_zone", "UTC"))


def git_commit() -> str:
    """The commit of the source tree that this package runs from, read from .git without a subprocess; ''
    elsewhere."""
    folder = Path(__file__).resolve().parents[2] / ".git"
    try:
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (folder / name).exists():
            return (folder / name).read_text().strip()
        packed = (folder / "packed-refs").read_text().splitlines()
        return next((line.split(" ")[0] for line in packed if line.endswith(" " + name)), "")
    except OSError:
        return ""
