"""A run: results of one date worked out, notebooks made into reports, everything pinned that is needed to do it again.

The functions here are what the nightly flow and `crm run` both call; nothing in them knows Prefect.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ibis.expr.types as ir
from sqlalchemy import select

from crm_core import __version__
from crm_core.errors import InputError, RunFailed, unknown
from crm_core.ingest import InboxReport
from crm_core.ingest import take_in as take_in_folder
from crm_core.reporting import (
    Job,
    NotebookResult,
    RunFacts,
    assign,
    declared,
    new_run_id,
    run_notebooks,
    warm,
    write_index,
    write_run,
)
from crm_core.reporting.publish import git_commit
from crm_core.store import now, processes, table_hash
from crm_core.store.ledger import Report, Run
from crm_core.workspace import Workspace

RUNNING, DONE, FAILED, INTERRUPTED = "running", "done", "failed", "interrupted"


def inbox(workspace: Workspace) -> tuple[list[str], dict[str, str]]:
    """Sources whose folder of data/inbox holds something, and by folder what is wrong with a name that is no source."""
    waiting: list[str] = []
    problems: dict[str, str] = {}
    if not workspace.inbox_dir.is_dir():
        return waiting, problems
    known = workspace.config.source_names()
    for folder in sorted(path for path in workspace.inbox_dir.iterdir() if path.is_dir() and path.name[0] != "."):
        if folder.name not in known:
            place = f"conf/sources/ (folder {folder.name} of the inbox)"
            problems[folder.name] = str(unknown("source", folder.name, known, place))
        elif any(folder.iterdir()):
            waiting.append(folder.name)
    return waiting, problems


def take_in(workspace: Workspace, source: str, actor: str = "crm") -> InboxReport:
    """Loads the folder of data/inbox that is named after `source`; see `ingest.take_in`."""
    return take_in_folder(workspace.config, workspace.lake, workspace.vault, source, workspace.inbox_dir / source, actor=actor)


def databases(workspace: Workspace) -> list[str]:
    """Sources whose database is read every night. Raises InputError where a source's settings are wrong."""
    found = {name: workspace.config.source(name).database for name in workspace.config.source_names()}
    return [name for name, database in found.items() if database is not None and database.nightly]


def begin(workspace: Workspace, parameters: Mapping[str, Any], language: str, actor: str = "crm") -> str:
    """Computes and stores the results of the workspace's date and opens a run in the ledger; returns its run_id."""
    started = now()
    warm()  # kernels come up while the results are worked out
    hashes = workspace.refresh(actor)
    assert workspace.snapshot is not None
    run_id = new_run_id()
    with workspace.ledger.transaction() as session:
        workspace.ledger.keep_config(session, workspace.config.hash(), workspace.config.texts())
        session.add(
            Run(
                run_id=run_id,
                state=RUNNING,
                as_of=workspace.as_of,
                snapshot_id=workspace.snapshot.id,
                config_hash=workspace.config.hash(),
                started_at=started,
                finished_at=None,
                results=hashes,
                detail={
                    "parameters": dict(parameters),
                    "language": language,
                    "package_version": __version__,
                    "git_commit": git_commit(),
                    "process": processes.this_process(),
                },
            )
        )
        workspace.ledger.audit(session, "run", run_id, {"as_of": workspace.as_of.isoformat()}, actor)
    return run_id


def execute(
    workspace: Workspace,
    run_id: str,
    notebooks: Sequence[str],
    parameters: Mapping[str, Any],
    on_result: Callable[[NotebookResult], None] | None = None,
) -> list[NotebookResult]:
    """Runs notebooks by name for an open run and publishes each good one below reports/<run_id>/.

    `parameters` go to every notebook that declares them; one that none declares is refused. A failing notebook stops no
    other. Raises UnknownName for a notebook or parameter that is not known.
    """
    run = find_run(workspace, run_id)
    jobs = _jobs(workspace, notebooks, {**parameters, "as_of": run.as_of.isoformat()})
    return run_notebooks(
        jobs,
        concurrency=workspace.config.reports.concurrency,
        timeout=workspace.config.reports.timeout_seconds,
        cell_timeout=workspace.config.reports.cell_timeout_seconds,
        on_result=on_result,
        language=run.detail["language"],
        out_dir=workspace.reports_dir / run_id,
        env={
            "CRM_WORKSPACE": str(workspace.root),
            "CRM_SNAPSHOT": str(run.snapshot_id),
            "CRM_CONFIG": run.config_hash,
            "CRM_MEMORY_SHARE": str(workspace.config.reports.concurrency + 1),
        },
    )


def finish(workspace: Workspace, run_id: str, results: Sequence[NotebookResult]) -> str:
    """Closes a run: ledger rows, run.json and the index; returns its state ('done' or 'failed')."""
    run = find_run(workspace, run_id)
    snapshot = workspace.lake.snapshot(run.snapshot_id)
    assert snapshot is not None
    facts = RunFacts(
        run_id=run_id,
        as_of=run.as_of.isoformat(),
        language=run.detail["language"],
        snapshot=run.snapshot_id,
        versions=snapshot.versions,
        config_hash=run.config_hash,
        project=workspace.config.project.name,
        time_zone=workspace.config.project.time_zone,
        hashes=run.results,
        actor=run.detail["process"],
        gate=run.detail.get("gate", {}),
    )
    write_run(workspace.reports_dir, facts, results, started_at=run.started_at.replace(tzinfo=dt.UTC))
    state = DONE if all(result.ok for result in results) else FAILED
    with workspace.ledger.transaction() as session:
        stored = session.get(Run, run_id)
        assert stored is not None
        stored.state, stored.finished_at = state, now()
        session.add_all(_report(run, result, workspace) for result in results)
    write_index(
        workspace.reports_dir,
        language=run.detail["language"],
        project=workspace.config.project.name,
        listed_runs=workspace.config.reports.listed_runs,
    )
    return state


def rebuild(workspace: Workspace, run_id: str) -> dict[str, str]:
    """Works the results of a past run out again from its pinned snapshot and settings and compares the hashes.

    Returns the hashes. Raises RunFailed naming the result that differs, or whose stored rows were altered since.
    """
    run = find_run(workspace, run_id)
    past = workspace.pinned(run.snapshot_id, run.config_hash, run.as_of)
    for name, rows in past.compute().items():
        if name not in run.results:  # a run of before there were scores
            continue
        made = table_hash(rows)
        if made != run.results[name]:
            raise RunFailed(f"{name} of run {run_id} comes out differently now: {made[:12]}, was {run.results[name][:12]}")
        if run.as_of in past.tables.result_dates(name):
            kept = table_hash(past.tables.result(name), _shared(past.tables.result(name), rows))
            if kept != made:
                raise RunFailed(f"the stored rows of {name} for {run.as_of} were altered since run {run_id}")
    return dict(run.results)


def find_run(workspace: Workspace, run_id: str) -> Run:
    """The run `run_id`. Raises UnknownName with the nearest one."""
    run: Run | None = workspace.ledger.get(Run, run_id)
    if run is None:
        with workspace.ledger.session() as session:
            raise unknown("run", run_id, session.scalars(select(Run.run_id)).all(), "the ledger")
    return run


def reconcile(workspace: Workspace) -> list[str]:
    """Marks runs whose process is gone (kill -9, power) as interrupted; returns their ids. Called before a new run."""
    gone = []
    with workspace.ledger.transaction() as session:
        for run in session.scalars(select(Run).where(Run.state == RUNNING)):
            if not processes.is_running(run.detail.get("process", "")):
                run.state, run.finished_at = INTERRUPTED, now()
                gone.append(run.run_id)
    return gone


def nightly_names(workspace: Workspace, asked: Sequence[str]) -> list[str]:
    """The notebooks asked for, else the nightly set of conf/reports.yml. Raises UnknownName for one that does not exist."""
    names = list(asked) or list(workspace.config.reports.nightly)
    known = [path.stem for path in workspace.notebooks_dir.glob("*.ipynb")]
    for name in names:
        if name not in known:
            raise unknown("notebook", name, known, "notebooks/")
    return names


def typed_parameters(workspace: Workspace, notebooks: Sequence[str], given: Mapping[str, str]) -> dict[str, Any]:
    """`name=text` pairs as typed values. Raises UnknownName or InputError as `reporting.assign` does."""
    typed = assign([workspace.notebooks_dir / f"{name}.ipynb" for name in notebooks], given)
    return {name: value for values in typed.values() for name, value in values.items()}


def language(workspace: Workspace, asked: str) -> str:
    """The language asked for, else the project's. Raises UnknownName for one that is neither zh nor en."""
    if asked and asked not in ("zh", "en"):
        raise unknown("language", asked, ("zh", "en"))
    return asked or workspace.config.project.language


def summary(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """What a run made, as plain values: state, date, report files, failures, seconds per notebook."""
    run = find_run(workspace, run_id)
    with workspace.ledger.session() as session:
        reports = session.scalars(select(Report).where(Report.run_id == run_id).order_by(Report.id)).all()
    return {
        "run_id": run_id,
        "state": run.state,
        "as_of": run.as_of.isoformat(),
        "reports": {row.notebook: str(workspace.reports_dir / row.path) for row in reports if row.state == "ok"},
        "failed": [row.notebook for row in reports if row.state not in ("ok", "held")],
        "held": [row.notebook for row in reports if row.state == "held"],
        "errors": {row.notebook: row.detail["error"] for row in reports if row.state != "ok"},
        "gate": run.detail.get("gate", {}),
        "problems": run.detail.get("problems", {}),
        "seconds": {row.notebook: row.detail["seconds"] for row in reports},
        "index": str(workspace.reports_dir / "index.html"),
    }


def summary_lines(facts: Mapping[str, Any]) -> list[str]:
    """`summary` for people."""
    made = [
        f"  {name}: {path}  (kernel start {facts['seconds'][name]['kernel_start']:.1f} s, "
        f"cells {facts['seconds'][name]['cells']:.1f} s)"
        for name, path in facts["reports"].items()
    ]
    errors = {name: error for name, error in facts["errors"].items() if name not in facts["held"]}
    failed = [f"  {name} FAILED: {error}" for name, error in {**errors, **facts["problems"]}.items()]
    failed += [f"  {name}: {facts['errors'][name]}" for name in facts["held"]]
    ignored = ["  the data did not pass the gate, which was ignored"] if facts["gate"].get("ignored") else []
    return [f"run {facts['run_id']} as of {facts['as_of']}: {facts['state']}", *ignored, *made, *failed, f"index: {facts['index']}"]


def failure(facts: Mapping[str, Any]) -> str:
    """Why the run of a `summary` did not end well, in one sentence."""
    said = []
    if failed := [*facts["failed"], *facts["problems"]]:
        said.append(f"failed in {', '.join(failed)}")
    if held := facts["held"]:
        said.append(f"held back {', '.join(held)} ({facts['errors'][held[0]]}; --ignore-gate makes them all the same)")
    return f"run {facts['run_id']} {' and '.join(said)}; the last good reports stay, marked out of date"


def _jobs(workspace: Workspace, notebooks: Sequence[str], parameters: Mapping[str, Any]) -> list[Job]:
    paths = [workspace.notebooks_dir / f"{name}.ipynb" for name in nightly_names(workspace, notebooks)]
    names = {path: set(declared(path)) for path in paths}
    everywhere = set().union(*names.values())
    for name in parameters:
        if name not in everywhere:
            raise unknown("parameter", name, everywhere, f"notebook {', '.join(path.stem for path in paths)}")
    defaults = workspace.config.reports.parameters
    return [
        Job(path, {**defaults.get(path.stem, {}), **{name: value for name, value in parameters.items() if name in names[path]}})
        for path in paths
    ]


def _report(run: Run, result: NotebookResult, workspace: Workspace) -> Report:
    path = result.html.relative_to(workspace.reports_dir).as_posix() if result.html else ""
    seconds = {"kernel_start": result.seconds_in_kernel_start, "cells": result.seconds_in_cells}
    return Report(
        run_id=run.run_id,
        notebook=result.notebook,
        language=run.detail["language"],
        state=result.status,
        path=path,
        published_at=now(),
        detail={"parameters": result.parameters, "seconds": seconds, "error": result.error},
    )


def _shared(stored: ir.Table, made: ir.Table) -> list[str]:
    if missing := [name for name in made.columns if name not in stored.columns]:
        raise InputError(f"the stored rows lack {', '.join(missing)}")
    return list(made.columns)
