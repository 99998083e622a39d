"""Commands around runs: demo, run, rebuild, audit, serve."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from typing import Any

import typer

from crm_core.cli.data import DAYS, MEMBERS, SEED
from crm_core.cli.output import actor, note, open_workspace, say, working
from crm_core.errors import InputError, RunFailed

PARAMETER = typer.Option([], "-p", "--parameter", help="name=value for the notebooks that declare it; may be repeated")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (demo, run, rebuild, audit, serve):
        app.command()(command)


def demo(members: int = MEMBERS, seed: int = SEED, days: int = DAYS) -> None:
    """Sample shop, nightly flow, and one campaign from plan to result; prints where the reports are."""
    from crm_core.demo import demo as show

    workspace = open_workspace(make=True)
    result = show(workspace, members=members, seed=seed, days=days, flow=flow("nightly"), tell=note)
    say(result.facts(), result.lines())


def run(
    notebooks: list[str] = typer.Argument(None, help="default: the nightly set of conf/reports.yml"),
    as_of: str = typer.Option("", "--as-of", help="YYYY-MM-DD; default: the last day that the data cover"),
    parameter: list[str] = PARAMETER,
    language: str = typer.Option("", "--language", help="zh or en; default: conf/project.yml"),
    ignore_gate: bool = typer.Option(False, "--ignore-gate", help="make the reports although the data fail the gate"),
    through_flow: bool = typer.Option(False, "--flow", help="through Prefect, also where no server is configured"),
) -> None:
    """Work out segments and tags for a date and make reports."""
    from crm_core import gate
    from crm_core import runs as work

    workspace = open_workspace(as_of)
    gate.check_settings(workspace)
    names = work.nightly_names(workspace, notebooks or [])
    values = work.typed_parameters(workspace, names, _pairs(parameter))
    chosen = work.language(workspace, language)
    if through_flow or flow("local_server").configured():
        run_id = flow("nightly").run(
            str(workspace.root), as_of=as_of, notebooks=names, language=chosen, parameters=values, ingest_inbox=False,
            ignore_gate=ignore_gate,
        )  # fmt: skip
    else:
        work.reconcile(workspace)
        with working("running notebooks"):
            run_id = work.begin(workspace, values, chosen, actor())
            judged = gate.judge_run(workspace, run_id, ignore_gate)
            made = judged.lets_through(names)
            results = work.execute(workspace, run_id, made, values) if made else []
            work.finish(workspace, run_id, [*results, *judged.held(names)])
    facts = work.summary(workspace, run_id)
    say(facts, work.summary_lines(facts))
    if facts["state"] != work.DONE:
        raise RunFailed(work.failure(facts))


def rebuild(subject: str = typer.Argument(..., help="a run_id or an audience_id")) -> None:
    """Make a past run or list again from its pinned snapshot and compare the hashes."""
    from crm_core import campaigns, runs
    from crm_core.store.ledger import Audience

    workspace = open_workspace()
    if workspace.ledger.get(Audience, subject) is None:
        with working("working the results out again"):
            hashes = runs.rebuild(workspace, subject)
        lines = [f"{name}: {value}" for name, value in hashes.items()]
        say({"run_id": subject, "same": True, "results": hashes}, [*lines, f"run {subject}: the same"])
        return
    with working("making the list again"):
        proof = campaigns.rebuild(subject, workspace.lake, workspace.ledger, workspace.vault)
    facts = asdict(proof)
    say({"same": True, **facts}, [f"{name}: {value}" for name, value in facts.items()] + [f"list {subject}: the same"])


def audit() -> None:
    """Verify the chain of the audit trail."""
    count = open_workspace().ledger.verify_audit()
    say({"lines": count, "intact": True}, [f"{count:,} audit lines, the chain is intact"])


def serve(
    cron: str = typer.Option("", "--cron", help="five fields; default: the schedule of conf/reports.yml"),
    port: int = typer.Option(0, "--port", min=0, max=65535, help="of the Prefect server on loopback; 0 = a free one"),
) -> None:
    """Start or find a Prefect server on loopback and run the nightly flow by its schedule, until stopped."""
    workspace = open_workspace(make=True)
    flow("serve").serve(str(workspace.root), cron=cron, port=port)


def flow(name: str) -> Any:
    """The module flows/NAME.py of the project folder; the package itself never imports flows."""
    from crm_core.workspace import REPOSITORY

    if not (REPOSITORY / "flows" / f"{name}.py").is_file():
        raise InputError(f"flows/{name}.py is missing; the flows are part of the project folder, run crm from a checkout")
    if str(REPOSITORY) not in sys.path:
        sys.path.insert(0, str(REPOSITORY))
    return importlib.import_module(f"flows.{name}")


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"parameter '{text}' has no value; write -p name=value")
        pairs[name.strip()] = value
    return pairs
