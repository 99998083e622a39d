"""`examine`: whether everything that a workspace needs is there and works, and how to mend what does not."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from crm_core.config import Config
from crm_core.config.sources import SourceSettings
from crm_core.errors import CrmError
from crm_core.workspace import Workspace

State = Literal["right", "absent", "wrong"]
SPACE_WANTED = 2 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing looked at. 'absent' is something optional."""

    name: str
    state: State
    found: str
    mend: str = ""


def examine(path: str = "") -> list[Check]:
    """Every check for the workspace in `path` (default as in Workspace.open)."""
    try:
        workspace = Workspace.open(path or None)
    except CrmError as error:
        return [Check("workspace", "wrong", str(error), "name a folder with --workspace")]
    required: list[tuple[str, Callable[[Workspace], str], str]] = [
        ("conf", _conf, "mend the named line"),
        ("disk", _disk, "free some space, or move data/ to a larger disk"),
        ("ledger", _ledger, "restore data/ledger from a copy; nobody may edit it"),
        ("engine", _engine, "run make install again"),
        ("lake", _lake, "restore data/lake from a copy, or load the files again"),
        ("vault", _vault, "chmod 700 data/vault; put its key back"),
        ("kernel", _kernel, "run make install again"),
    ]
    checks = [_required(name, look, mend, workspace) for name, look, mend in required]
    return [*checks, *_databases(workspace), *_optional()]


def _databases(workspace: Workspace) -> list[Check]:
    """Whether each source's database answers and has the columns asked for."""
    found = []
    for name in workspace.config.source_names():
        with suppress(CrmError):  # settings that cannot be read are the business of `conf`
            settings = workspace.config.source(name)
            if settings.database is not None:
                mend = "mend what it names, or leave `database` out of the source"
                look = partial(_database, settings)
                found.append(_required(f"database of {name}", look, mend, workspace))
    return found


def _database(settings: SourceSettings, _workspace: Workspace) -> str:
    from crm_core.ingest.database import check_database

    return check_database(settings)


def _required(name: str, look: Callable[[Workspace], str], mend: str, workspace: Workspace) -> Check:
    try:
        return Check(name, "right", look(workspace))
    except CrmError as error:
        return Check(name, "wrong", str(error), mend)
    except Exception as error:  # noqa: BLE001  the doctor names whatever it meets
        return Check(name, "wrong", f"{type(error).__name__}", mend)


def _conf(workspace: Workspace) -> str:
    config = workspace.config
    problems = []
    readers: list[Callable[[], object]] = [
        partial(getattr, config, name) for name in ("project", "identity", "segments", "tags", "models", "reports")
    ]
    readers.append(partial(_rules, config))
    readers += [partial(config.source, name) for name in config.source_names()]
    readers += [partial(config.campaign, name) for name in config.campaign_names()]
    readers += [partial(config.platform, name) for name in config.platform_names()]
    for read in readers:
        try:
            read()
        except CrmError as error:
            problems.append(str(error))
    if problems:
        raise CrmError("; ".join(problems))
    return f"{len(readers) - 1} files read"


def _rules(config: Config) -> None:
    """Compiles every rule of segments and tags. InputError with all that is wrong."""
    from crm_core import segments, tags

    segments.check(config.segments)
    tags.check(config.tags, segments.references(config.segments))


def _disk(workspace: Workspace) -> str:
    free = shutil.disk_usage(workspace.root).free
    if free < SPACE_WANTED:
        raise CrmError(f"only {free / 2**30:.1f} GB free in {workspace.root}")
    if not os.access(workspace.root, os.W_OK):
        raise CrmError(f"{workspace.root} may not be written")
    return f"{free / 2**30:.0f} GB free"


def _ledger(workspace: Workspace) -> str:
    return f"{workspace.ledger.verify_audit():,} audit lines, chain intact"


def _engine(workspace: Workspace) -> str:
    import ibis

    one = workspace.engine.to_pyarrow(ibis.literal(1).name("one").as_table())["one"][0].as_py()
    if one != 1:
        raise CrmError("the engine cannot count to one")
    return f"{workspace.engine.name} {workspace.engine.version}"


def _lake(workspace: Workspace) -> str:
    snapshot = workspace.snapshot
    if snapshot is None:
        return "empty: nothing was loaded yet"
    rows = {name: int(workspace.lake.table(name).count().to_pyarrow().as_py()) for name in ("members", "orders")}
    return f"snapshot {snapshot.id}: {rows['members']:,} members, {rows['orders']:,} orders"


def _vault(workspace: Workspace) -> str:
    mode = workspace.vault.folder.stat().st_mode & 0o777
    if mode != 0o700:
        raise CrmError(f"data/vault has mode {mode:o}, others can read contact data")
    return "private, key present"


def _kernel(workspace: Workspace) -> str:
    if importlib.util.find_spec("ipykernel") is None:
        raise CrmError("ipykernel is not installed")
    notebooks = sorted(path.stem for path in workspace.notebooks_dir.glob("*.ipynb"))
    return f"{len(notebooks)} notebooks: {', '.join(notebooks)}"


def _optional() -> list[Check]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    java = shutil.which("java")
    spark = importlib.util.find_spec("pyspark")
    return [
        _maybe("fonts", _chinese_font(), "apt install fonts-noto-cjk, for Chinese in screenshots and PDF on this machine"),
        _maybe("chromium", chromium or "", "apt install chromium, for the tests that look at reports"),
        _maybe("java", java or "", "apt install openjdk-17-jre-headless, for Spark"),
        _maybe("spark", "installed" if spark else "", "make spark, for members beyond one machine"),
    ]


def _maybe(name: str, found: str, mend: str) -> Check:
    return Check(name, "right", found) if found else Check(name, "absent", "", mend)


def _chinese_font() -> str:
    lister = shutil.which("fc-list")
    if lister is None:
        return ""
    done = subprocess.run([lister, ":lang=zh", "family"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout.strip() else ""
