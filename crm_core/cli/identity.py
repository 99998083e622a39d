"""`crm identity [train|link]`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from crm_core.cli.output import actor, open_workspace, say, table, working

if TYPE_CHECKING:
    from crm_core.identity import IdentitySummary

app = typer.Typer(invoke_without_command=True, help="Which members are one person.")
AS_OF = typer.Option("", "--as-of", help="YYYY-MM-DD; default: the last day that the data cover")


@app.callback()
def summary(context: typer.Context, as_of: str = AS_OF) -> None:
    """Members and persons in numbers, and the keys that link nobody; train and link work on likeness."""
    if context.invoked_subcommand is not None:
        return
    from crm_core.identity import identity_summary

    workspace = open_workspace(as_of)
    with working("counting persons"):
        found = identity_summary(workspace.tables)
    say({**asdict(found), "as_of": workspace.as_of.isoformat()}, _lines(found, str(workspace.as_of)))


@app.command()
def train() -> None:
    """Learn from all members how alike two records of one person are; writes data/identity/model.json."""
    from crm_core.identity import model_path, train_links

    workspace = open_workspace()
    settings = workspace.config.identity.probabilistic
    with working("learning"):
        model = train_links(workspace.lake, workspace.vault, settings, workspace.config.project.engine, actor())
    rows = [
        {"compared": each.compare, "same, of one person": each.of_one_person[0], "same, of two persons": each.of_two_persons[0]}
        for each in model.weights
    ]
    then = "link by it with: crm identity link" if settings.enabled else "it counts once conf/identity.yml says enabled: true"
    head = f"learnt from {model.trained_on_members:,} members, written to {model_path(workspace.lake)}"
    say(model.model_dump(mode="json"), [head, *table(rows), then])


@app.command()
def link() -> None:
    """Link members who are alike by the trained weights; every load and refresh does it too where conf asks for it."""
    from crm_core.identity import link_members

    workspace = open_workspace()
    settings = workspace.config.identity.probabilistic
    with working("linking"):
        report = link_members(workspace.lake, workspace.vault, settings, workspace.config.project.engine, actor())
    state = "stored" if report.changed else "as they were"
    unused = [] if settings.enabled else ["they do not count while conf/identity.yml says enabled: false"]
    say(asdict(report), [f"{report.members:,} members compared, {report.pairs:,} pairs alike, {state}", *unused])


def _lines(found: IdentitySummary, as_of: str) -> list[str]:
    head = (
        f"{found.members:,} members are {found.persons:,} persons as of {as_of}; {found.merged_members:,} memberships belong to "
        f"{found.merged_persons:,} persons with several, at most {found.largest_person:,}"
    )
    held = [asdict(each) for each in found.held_back]
    unused = ["keys that link nobody, most shared first", *table(held)] if held else ["every shared key links"]
    return [head, *table([asdict(each) for each in found.kinds]), *unused]
