"""The command about tags: what one says and of how many, whether it is withheld, and lists of members as tags."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crm_core.cli.output import actor, open_workspace, say, table, working
from crm_core.cli.people import AS_OF
from crm_core.errors import InputError

if TYPE_CHECKING:
    from crm_core.tags import Check
    from crm_core.workspace import Workspace

MOST_VALUES = 20
UPLOAD = "upload"


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command()(tag)


def tag(
    name: str = typer.Argument(..., help="the tag; or 'upload', to store a list of members as one"),
    tag_name: str = typer.Argument("", metavar="[TAG]", help="upload: a tag of kind list"),
    file: Path = typer.Argument(None, help="upload: CSV with member_id or account (SOURCE:ID), and value where there are several"),
    merge: bool = typer.Option(False, "--merge", help="upload: add to the list there was, instead of replacing it"),
    as_of: str = AS_OF,
) -> None:
    """Coverage, definition, check and change of a tag; or `crm tag upload TAG FILE`."""
    if name == UPLOAD:
        if not tag_name or file is None:
            raise InputError("name the tag and the file: crm tag upload TAG FILE")
        _upload(tag_name, file, merge, as_of)
    elif tag_name or merge:
        raise InputError(f"crm tag takes one tag, or: crm tag upload TAG FILE (found '{name} {tag_name}')")
    else:
        _show(name, as_of)


def _upload(name: str, file: Path, merge: bool, as_of: str) -> None:
    from crm_core.tags import upload

    workspace = open_workspace(as_of)
    sources = {each: workspace.config.source(each) for each in workspace.config.source_names()}
    accounts = {each: (source.accounts_of, source.ids == "plain") for each, source in sources.items()}
    with working("storing the list"):
        done = upload(
            file, name, workspace.config.tags, workspace.lake, workspace.vault, workspace.features.select("member_id"),
            accounts, as_of=workspace.as_of, merge=merge, actor=actor(),
        )  # fmt: skip
    refused = [f"  {reason}: {count:,}" for reason, count in done.rejected.items()]
    say(asdict(done), [
        f"list of tag {name} from {done.as_of} on: {done.members:,} members",
        f"read {done.read:,} = accepted {done.accepted:,} + rejected {done.read - done.accepted:,}", *refused,
    ])  # fmt: skip


def _show(name: str, as_of: str) -> None:
    from crm_core.tags import describe

    workspace = open_workspace(as_of)
    shown = describe(name, workspace.config.tags, workspace.config.project.language)
    with working("counting"):
        check = workspace.tag_checks.get(name)
        now = _values(workspace, name, None)
        before = workspace.previous_date("member_tags")
        then = {row["value"]: row["members"] for row in _values(workspace, name, before)} if before else {}
    rows = [{**row, "before": then.get(row["value"])} for row in now]
    facts = {
        **asdict(shown), "as_of": workspace.as_of.isoformat(), "previous": before, "values": rows,
        "check": asdict(check) if check else None,
    }  # fmt: skip
    head = [f"{name} {shown.title} ({shown.kind}, owner {shown.owner})", shown.definition, f"as of {workspace.as_of}"]
    head += _verdict(workspace, check) if check else []
    shown_rows = [{**row, "value": "(no value)" if row["value"] is None else row["value"]} for row in rows[:MOST_VALUES]]
    more = [f"… {len(rows) - MOST_VALUES:,} more values"] if len(rows) > MOST_VALUES else []
    since = [f"'before' is {before}"] if before else ["no tags of an earlier date are stored"]
    say(facts, [*head, *table(shown_rows), *more, *since])


def _verdict(workspace: Workspace, check: Check) -> list[str]:
    """What the check found, and why the tag is withheld if it is."""
    bounds = workspace.config.tags.bounds_of(check.tag)
    least, most = bounds.coverage
    said = f"{check.members:,} of {check.everybody:,} members"
    said += f" ({check.coverage:.1%})" if check.coverage is not None else ""
    said += f", {check.drift:+.1%} since last published" if check.drift is not None else ""
    reasons = {
        "coverage": f"coverage must be {least:.1%} to {most:.1%}", "drift": f"it may move by {bounds.drift:.1%}",
        "expired": "it has expired",
    }  # fmt: skip
    return [said, f"WITHHELD on this date: {reasons[check.problem]} (conf/tags.yml, bounds)"] if check.problem else [said]


def _values(workspace: Workspace, name: str, day: Any) -> list[dict[str, Any]]:
    tags = workspace.tables.result("member_tags", day) if day else workspace.tags
    if name not in tags.columns:
        return []
    values = tags.select(value=tags[name].cast("string"))
    counted = values.group_by("value").agg(members=values.count())
    rows: list[dict[str, Any]] = counted.order_by([counted.members.desc(), counted.value]).to_pyarrow().to_pylist()
    return rows
