"""The nightly flow: inbox → features, segments, tags → notebooks, two at a time → index, around functions of
`crm_core.runs`.

A failing notebook fails its task and the flow, but stops no other notebook: the others are published, the
last good report of the failing one stays and the index marks it. A file of the inbox that cannot be loaded
fails its task and the flow, and the reports are made from what the lake holds. Prefect's database gets ids,
counts and our own errors, which carry no values of members; what an unforeseen error said stays in
data/prefect/unforeseen.log.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flows  # it prepares the process before Prefect is imported

# isort: split

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from crm_core import gate, ingest, runs
from crm_core.errors import CrmError, InputError, RunFailed
from crm_core.reporting import NotebookResult, declared, warm
from crm_core.store import now
from crm_core.store.ledger import Run
from crm_core.workspace import Workspace
from flows import local_server
from flows.local_server import Server

ACTOR = "nightly"
ARTIFACT = "nightly-run"
TRANSIENT = ("the kernel died", "outside the cells")
RETRY_SECONDS = [5, 30]
MISTAKES = (AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
lines = flows.lines_to_stderr()
Parameters = dict[str, dict[str, Any]]


class Unforeseen(RunFailed):
    """An error that nobody raised on purpose; `again` says whether the world may have been its cause, not the
    code."""

    def __init__(self, message: str, again: bool) -> None:
        super().__init__(message)
        self.again = again


class NotebookFailed(RunFailed):
    """One notebook did not end well; `result` says how."""

    def __init__(self, result: NotebookResult) -> None:
        super().__init__(f"{result.notebook}: {result.error}")
        self.result = result


def start_server_early(workspace: str) -> Server:
    """The Prefect server for a workspace, coming up in the background while other work goes on; hand it to
    `run`, then `stop` it."""
    return local_server.obtain(workspace)


def run(
    workspace: str,
    *,
    as_of: str = "",
    notebooks: list[str] | None = None,
    language: str = "",
    parameters: dict[str, Any] | None = None,
    ingest_inbox: bool = True,
    source: str = "",
    ignore_gate: bool = False,
    server: Server | None = None,
) -> str:
    """Runs the flow once in this process, on `server`, the configured one or a temporary one, and returns our
    run_id.

    How the run ended is in the ledger (`runs.summary`). Raises what kept the run from being opened:
    InputError for a wrong date, name or parameter, RunFailed otherwise.
    """
    own = server or start_server_early(workspace)
    try:
        own.wait()
        with local_server.connected(own):
            given = (as_of, notebooks, language, parameters, ingest_inbox, source, ignore_gate)
            state = nightly(workspace, *given, return_state=True)
            outcome = state.result(raise_on_failure=False)
    finally:
        if server is None:
            own.stop()
    if isinstance(outcome, CrmError):
        raise outcome.with_traceback(None)  # Prefect's engine lies between the error and whoever reads it
    if not isinstance(outcome, dict):
        raise RunFailed(f"the flow ended as {state.name.lower()}: {state.message or 'no reason given'}")
    return str(outcome["run_id"])


@flow(name="nightly", persist_result=True, result_serializer="json")
def nightly(
    workspace: str,
    as_of: str = "",
    notebooks: list[str] | None = None,
    language: str = "",
    parameters: dict[str, Any] | None = None,
    ingest_inbox: bool = True,
    source: str = "",
    ignore_gate: bool = False,
) -> Any:
    """Everything that has to be done once a day, for the workspace in the folder `workspace`.

    `as_of`: YYYY-MM-DD, default the last day that the data cover. `notebooks`: default the nightly set of
    conf/reports.yml. `language`: zh or en, default the project's. `parameters`: for the notebooks that
    declare them. `ingest_inbox`: load what lies in data/inbox first, of `source` only when one is named.
    `ignore_gate`: make every report although the data fail the gate of conf/reports.yml. The result is ids and
    counts.
    """
    began = time.monotonic()
    opened = Workspace.open(workspace, as_of)
    chosen = runs.language(opened, language)
    gate.check_settings(opened)
    given = per_notebook(opened, runs.nightly_names(opened, notebooks or []), parameters or {})
    warm()
    for run_id in runs.reconcile(opened):
        tell(f"run {run_id} was cut off and is marked interrupted")
    loads, problems = _take_in(opened, source) if ingest_inbox else ([], {})
    try:
        run_id = refresh_results(workspace, as_of, parameters or {}, chosen)
    except InputError:
        if problems:  # an empty lake is then the consequence, not the reason
            raise InputError("; ".join(problems.values())) from None
        raise
    judged = judge_gate(workspace, run_id, ignore_gate)
    made = judged.lets_through(list(given))
    results = _make_reports(opened, run_id, {name: given[name] for name in made})
    publish_index(workspace, run_id, [*results, *judged.held(list(given))], problems)
    summary = summarise(opened, run_id, loads, problems, time.monotonic() - began)
    create_markdown_artifact(as_markdown(summary), key=ARTIFACT, description=f"run {run_id}: {summary['state']}")
    tell(f"run {run_id} as of {summary['as_of']}: {summary['state']} in {summary['seconds']} s", *summary["errors"].values())
    if summary["state"] != runs.DONE:
        return Failed(message=f"run {run_id}: {'; '.join(summary['errors'].values())}", data=summary)
    return summary


def _take_in(workspace: Workspace, source: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Loads the inbox folder by folder, then the databases; returns the loads and, by name, what went wrong.

    Raises UnknownName for a source that is not known.
    """
    loads: list[dict[str, Any]] = []
    if source:
        workspace.config.source(source)
    folders, strange = runs.inbox(workspace)
    problems = {} if source else {f"inbox {name}": f"inbox: {error}" for name, error in strange.items()}
    waiting = [(name, load_inbox) for name in folders]
    try:
        waiting += [(name, load_database) for name in runs.databases(workspace)]
    except InputError as error:
        problems["databases"] = f"databases: {error}"
    for name, load in waiting:
        if source not in ("", name):
            continue
        state = load(str(workspace.root), name, return_state=True)
        outcome = state.result(raise_on_failure=False)
        if isinstance(outcome, dict):
            failed = outcome.pop("problems")
            loads.append(outcome)
            if failed:
                problems[f"load of {name}"] = f"load of {name}: {'; '.join(failed.values())}"
        else:
            problems[f"load of {name}"] = f"load of {name}: {outcome}"
    return loads, problems


def _make_reports(workspace: Workspace, run_id: str, given: Parameters) -> list[NotebookResult]:
    """One task a notebook, as many at a time as conf/reports.yml says; results in the order of `given`."""
    with ThreadPoolTaskRunner(max_workers=workspace.config.reports.concurrency) as pool:
        futures = [
            pool.submit(make_report, {"workspace": str(workspace.root), "run_id": run_id, "notebook": name, "values": values})
            for name, values in given.items()
        ]
        for future in futures:
            future.wait()
    return [_result_of(name, future.state) for name, future in zip(given, futures, strict=True)]


def _result_of(name: str, state: Any) -> NotebookResult:
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, NotebookResult):
        return outcome
    if isinstance(outcome, NotebookFailed):
        return outcome.result
    # the task itself broke: the notebook counts as failed, like any other
    return NotebookResult(name, "failed", 0.0, 0.0, 0.0, {}, error=str(outcome))


def worth_trying_again(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failed task may end better the next time: never after wrong input, and a cell that failed
    fails again."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, NotebookFailed):
        return any(words in error.result.error for words in TRANSIENT)
    if isinstance(error, Unforeseen):
        return error.again
    return not isinstance(error, InputError)


RETRYING = {"retries": 2, "retry_delay_seconds": RETRY_SECONDS, "retry_condition_fn": worth_trying_again}
PLAIN = {"cache_policy": NO_CACHE, "persist_result": False}


@task(name="load inbox", task_run_name="load {source}", **RETRYING, **PLAIN)
def load_inbox(workspace: str, source: str) -> dict[str, Any]:
    """Loads what lies in the inbox folder of `source`; returns the loads' ids, their reconciliation in rows, the
    files that stay, and by file what could not be loaded."""
    with short_errors(workspace, f"load of {source}"):
        return _told(runs.take_in(Workspace.open(workspace), source, ACTOR))


@task(name="load database", task_run_name="load database of {source}", **RETRYING, **PLAIN)
def load_database(workspace: str, source: str) -> dict[str, Any]:
    """Loads what is new in the database of `source`; the result is that of `load_inbox`."""
    with short_errors(workspace, f"load of {source}"):
        opened = Workspace.open(workspace)
        report = ingest.ingest(opened.config, opened.lake, opened.vault, source, [], actor=ACTOR)
        return _told(ingest.InboxReport(source, (report,)))


def _told(report: ingest.InboxReport) -> dict[str, Any]:
    return {
        "load_id": ", ".join(load.load_id for load in report.loads if load.load_id),
        "source": report.source,
        **{what: report.total(what) for what in ("read", "accepted", "duplicate", "rejected")},
        "left": report.left,
        "problems": report.problems,
    }


@task(name="features, segments, tags", **RETRYING, **PLAIN)
def refresh_results(workspace: str, as_of: str, parameters: dict[str, Any], language: str) -> str:
    """Works out and stores the results of the date and opens the run; returns its run_id."""
    with short_errors(workspace, "features, segments, tags"):
        return runs.begin(Workspace.open(workspace, as_of), parameters, language, ACTOR)


@task(name="gate", **RETRYING, **PLAIN)
def judge_gate(workspace: str, run_id: str, ignore: bool) -> gate.Gate:
    """Judges the checks of conf/reports.yml on what the run reads."""
    with short_errors(workspace, "gate"):
        judged = gate.judge_run(Workspace.open(workspace), run_id, ignore)
    for outcome in judged.failed:
        tell(f"gate{' (ignored)' if judged.ignored else ''}: {outcome.sentence}")
    return judged


@task(name="notebook", task_run_name="notebook {notebook}", **{**RETRYING, "retries": 1, "retry_delay_seconds": 2}, **PLAIN)
def make_report(workspace: str, run_id: str, notebook: str, values: dict[str, Any]) -> NotebookResult:
    """Runs one notebook and publishes its page. Raises NotebookFailed when it does not end well."""
    with short_errors(workspace, f"notebook {notebook}"):
        result = runs.execute(Workspace.open(workspace), run_id, [notebook], values)[0]
    if not result.ok:
        raise NotebookFailed(result)
    return result


@task(name="index", **RETRYING, **PLAIN)
def publish_index(workspace: str, run_id: str, results: list[NotebookResult], problems: dict[str, str]) -> str:
    """Closes the run in the ledger and writes run.json and the index; returns the state, 'failed' also after
    `problems`."""
    with short_errors(workspace, "index"):
        opened = Workspace.open(workspace)
        state = runs.finish(opened, run_id, results)
        return note_problems(opened, run_id, problems) if problems else state


def per_notebook(workspace: Workspace, names: list[str], parameters: dict[str, Any]) -> Parameters:
    """For each notebook the values among `parameters` that it declares. Raises UnknownName for one that none
    declares."""
    from crm_core.errors import unknown

    known = {name: set(declared(workspace.notebooks_dir / f"{name}.ipynb")) for name in names}
    everywhere = set().union(*known.values())
    for name in parameters:
        if name not in everywhere:
            raise unknown("parameter", name, everywhere, f"notebook {', '.join(names)}")
    return {name: {key: value for key, value in parameters.items() if key in known[name]} for name in names}


def note_problems(workspace: Workspace, run_id: str, problems: dict[str, str]) -> str:
    """Marks a run as failed for what went wrong beside its notebooks; returns the state."""
    with workspace.ledger.transaction() as session:
        stored = session.get(Run, run_id)
        assert stored is not None
        stored.state, stored.finished_at, stored.detail = (runs.FAILED, now(), {**stored.detail, "problems": problems})
    return runs.FAILED


def summarise(
    workspace: Workspace, run_id: str, loads: list[dict[str, Any]], problems: dict[str, str], seconds: float
) -> dict[str, Any]:
    """The flow's result: ids, counts and our own one-line errors."""
    facts = runs.summary(workspace, run_id)
    return {
        "run_id": run_id,
        "state": facts["state"],
        "as_of": facts["as_of"],
        "loads": loads,
        "notebooks": {name: _state(name, facts) for name in facts["seconds"]},
        "errors": {**problems, **{name: f"{name}: {error}" for name, error in facts["errors"].items()}},
        "notebook_seconds": facts["seconds"],
        "seconds": round(seconds, 1),
    }


def _state(name: str, facts: dict[str, Any]) -> str:
    if name in facts["held"]:
        return "held"
    return "failed" if name in facts["errors"] else "ok"


def as_markdown(summary: dict[str, Any]) -> str:
    """`summary` as the artifact that Prefect shows; paths are relative to the workspace."""
    lines = [
        f"# Run {summary['run_id']}: {summary['state']}",
        f"As of {summary['as_of']}, {summary['seconds']} s. Reports: `reports/index.html`",
        "| notebook | | seconds |",
        "|---|---|---:|",
    ]
    for name, state in summary["notebooks"].items():
        seconds = sum(summary["notebook_seconds"][name].values())
        shown = {"held": "held back by the gate", "failed": "failed"}.get(state, "") + "; the last good report stays"
        shown = f"`reports/{summary['run_id']}/{name}.html`" if state == "ok" else shown
        lines.append(f"| {name} | {shown} | {seconds:.1f} |")
    for load in summary["loads"]:
        lines.append(
            f"\nLoad {load['load_id'] or '(nothing new)'} of {load['source']}: read {load['read']:,} = "
            f"accepted {load['accepted']:,} + duplicate {load['duplicate']:,} + rejected {load['rejected']:,}"
        )
    return "\n".join([*lines, *(f"\n**{error}**" for error in summary["errors"].values())])


def tell(*texts: str) -> None:
    """Our own lines: to Prefect's log of the run, and to stderr under `crm serve`."""
    for text in texts:
        get_run_logger().info(text)
        lines.info(text)


@contextlib.contextmanager
def short_errors(workspace: str, step: str) -> Iterator[None]:
    """Our own errors pass; of an unforeseen one only the kind does, because its text may hold values of
    members."""
    try:
        yield
    except CrmError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach Prefect's database
        kept = keep_traceback(workspace, step)
        message = f"{step}: unforeseen {type(error).__name__}; where it arose is in {kept}"
        raise Unforeseen(message, again=not isinstance(error, MISTAKES)) from None


def keep_traceback(workspace: str, step: str) -> str:
    """Appends the present traceback to data/prefect/unforeseen.log, readable by its owner only; returns that
    name."""
    path = local_server.home_of(workspace) / "unforeseen.log"
    with contextlib.suppress(OSError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
        file.write(f"{now().isoformat()}Z {step}\n{traceback.format_exc()}\n")
    return Path("data", "prefect", path.name).as_posix()
