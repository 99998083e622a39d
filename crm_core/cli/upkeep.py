"""Commands that look after a workspace: doctor, compact, vacuum."""

from __future__ import annotations

import typer

from crm_core.cli.output import open_workspace, options, say, table
from crm_core.errors import RunFailed


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (doctor, compact, vacuum):
        app.command()(command)


def doctor() -> None:
    """Check conf, store, ledger, engine, kernel, fonts, chromium and java; says what is wrong and how to mend it."""
    from crm_core.doctor import examine

    found = examine(options.workspace)
    rows = [{"check": each.name, "state": each.state, "found": each.found, "mend": each.mend} for each in found]
    say({"checks": rows}, table(rows))
    broken = [each.name for each in found if each.state == "wrong"]
    if broken:
        raise RunFailed(f"{', '.join(broken)}: see above how to mend")


def compact() -> None:
    """Join small files of the lake into larger ones; nothing that it says changes."""
    open_workspace().lake.compact()
    say({"compacted": True}, ["the lake is compacted"])


def vacuum() -> None:
    """Delete files that neither the newest snapshots nor any run or list needs."""
    removed = open_workspace().lake.vacuum()
    say({"files_removed": removed}, [f"{removed:,} files removed"])
