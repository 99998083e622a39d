"""Runs notebooks: strictly checked parameters, warm kernels, a watchdog, and nothing published unless all
cells ended well.

papermill writes its output in place and continues to look alive when a kernel hangs; here it works in a
private folder, in a thread that is given up at the deadline after its kernel's process group was killed.
What is published (the page and the executed notebook) appears by rename, complete or not at all.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from crm_core import errors
from crm_core.reporting import page, parameters, provisioner
from crm_core.reporting.labels import LANGUAGES

DEADLINE_SECONDS = 900.0
GRACE_SECONDS = 20.0
FAILED_FOLDER = ".failed"


@dataclass(frozen=True)
class NotebookResult:
    """How one notebook ended. Paths are set when status is 'ok'; `error` is one line without values of
    members. 'held': it was not run, because the data did not pass the gate."""

    notebook: str
    status: Literal["ok", "failed", "held"]
    seconds_in_kernel_start: float
    seconds_in_cells: float
    seconds: float
    parameters: dict[str, Any]
    html: Path | None = None
    ipynb: Path | None = None
    error: str = ""
    failed_copy: Path | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when the notebook ran to its end and its page was published."""
        return self.status == "ok"


@dataclass(frozen=True)
class Job:
    """One notebook to run with its typed parameters."""

    path: Path
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass
class Clock:
    """Moments of one execution, in seconds of `time.perf_counter`; 0 = not reached."""

    started: float = 0.0
    ready: float = 0.0
    ended: float = 0.0


def run_notebook(
    path: Path,
    given: Mapping[str, Any] | None = None,
    *,
    language: str = "zh",
    out_dir: Path,
    timeout: float = DEADLINE_SECONDS,
    cell_timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    forked: bool = True,
) -> NotebookResult:
    """Run one notebook and publish `<out_dir>/<name>.html` and `.ipynb`.

    `given`: parameter values by name, only such as the notebook declares. `language`: zh or en, of the page
    and of what the cells show. `timeout`: seconds for the whole notebook, `cell_timeout` for one cell.
    `env`: added to this process's environment in the kernel. `forked=False` uses the stock kernel
    provisioner. A cell that fails, a kernel that dies and a deadline that passes give status 'failed' and
    leave what is published untouched. Raises InputError and UnknownName for a wrong call.
    """
    if language not in LANGUAGES:
        raise errors.unknown("language", language, LANGUAGES)
    path = Path(path)
    values = parameters.checked(path, given or {})
    clock = Clock(started=time.perf_counter())
    with tempfile.TemporaryDirectory(prefix="crm-run-") as scratch:
        target = Path(scratch) / path.name
        environment = {**os.environ, **_QUIET, **(env or {}), "CRM_LANGUAGE": language, "CRM_REPORT": "1"}
        execution = Execution(path, target, values, environment, int(max(1, cell_timeout or timeout)), clock, forked)
        error = execution.run(timeout)
        common: dict[str, Any] = {"notebook": path.stem, "parameters": values, **_seconds(clock)}
        if not error:
            try:
                published, summary = _publish(target, path.stem, out_dir, language)
                return NotebookResult(status="ok", html=published[0], ipynb=published[1], summary=summary, **common)
            except errors.CrmError as refused:
                error = str(refused)
            except Exception as broken:  # noqa: BLE001 - one page that cannot be drawn must not stop the others
                error = f"the page could not be made: {type(broken).__name__}: {broken}"
        return NotebookResult(status="failed", error=error, failed_copy=_keep_failed(target, out_dir), **common)


def run_notebooks(
    jobs: Sequence[Job], *, concurrency: int = 2, on_result: Callable[[NotebookResult], None] | None = None, **options: Any
) -> list[NotebookResult]:
    """Run several notebooks, `concurrency` at a time; results in the order of `jobs`, one failing stops no
    other.

    `options` as for `run_notebook`; `on_result` is called as each ends. All parameters are checked before
    anything starts.
    """
    for job in jobs:
        parameters.checked(job.path, job.parameters)
    if options.get("forked", True):
        warm()

    def one(job: Job) -> NotebookResult:
        result = run_notebook(job.path, job.parameters, **options)
        if on_result is not None:
            on_result(result)
        return result

    with ThreadPoolExecutor(max_workers=max(1, concurrency), thread_name_prefix="notebook") as pool:
        return list(pool.map(one, jobs))


# Analytics of the libraries are off; without a plotting backend named, ipykernel looks for matplotlib.
_QUIET = {"DO_NOT_TRACK": "1", "JUPYTER_PLATFORM_DIRS": "1", "MPLBACKEND": "agg"}


def warm() -> None:
    """Start the fork server and this process's own heavy imports in the background, so that the first
    notebook does not wait for them; safe to call more than once."""
    provisioner.warm()
    threading.Thread(target=_import_kernels, name="import-papermill", daemon=True).start()


def _import_kernels() -> None:
    importlib.import_module("crm_core.reporting.kernels")


@dataclass
class Execution:
    """One papermill execution of `path` into `target`, in a thread of its own, so that a hang can be given up and no event
    loop is in the way. `managers`: of its kernels, once they are started."""

    path: Path
    target: Path
    values: dict[str, Any]
    environment: dict[str, str]
    cell_timeout: int
    clock: Clock
    forked: bool
    managers: list[Any] = field(default_factory=list)
    error: str = "the execution thread ended without a result"

    def run(self, timeout: float) -> str:
        """Execute; '' when every cell ended well, else one line that says what did not."""
        thread = threading.Thread(target=self._work, name="papermill", daemon=True)
        thread.start()
        try:
            thread.join(timeout)
            if thread.is_alive():
                self._kill()
                thread.join(GRACE_SECONDS)
                return f"stopped after {timeout:.0f} seconds, the limit for a notebook"
        finally:
            self.clock.ended = self.clock.ended or time.perf_counter()
            self._kill()
        return self.error

    def _work(self) -> None:
        from crm_core.reporting import kernels

        try:
            self.error = kernels.execute(self)
        except errors.CrmError as error:
            self.error = str(error)
        except BaseException as error:  # noqa: BLE001 - whatever happens in the thread is the notebook's result
            self.error = f"{type(error).__name__} outside the cells"

    def _kill(self) -> None:
        from crm_core.reporting import kernels

        for manager in self.managers:
            kernels.kill(manager)


def _seconds(clock: Clock) -> dict[str, float]:
    ready = clock.ready or clock.ended
    return {
        "seconds_in_kernel_start": round(ready - clock.started, 3),
        "seconds_in_cells": round(clock.ended - ready, 3),
        "seconds": round(clock.ended - clock.started, 3),
    }


def _publish(executed: Path, name: str, out_dir: Path, language: str) -> tuple[list[Path], dict[str, Any]]:
    rendered = page.render(executed, name=name, language=language)
    out_dir.mkdir(parents=True, exist_ok=True)
    published = []
    for suffix, text in ((".html", rendered.html), (".ipynb", rendered.notebook)):
        final = out_dir / f"{name}{suffix}"
        write_atomically(final, text)
        published.append(final)
    return published, rendered.summary


def write_atomically(final: Path, text: str) -> None:
    """Write `text` under a temporary name beside `final` and rename it there; readers see the old or the
    new, whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{final.name}.", dir=final.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(final)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _keep_failed(executed: Path, out_dir: Path) -> Path | None:
    """The executed notebook with its traceback, for the analyst only (folder mode 0700, linked from
    nowhere)."""
    if not executed.exists():
        return None
    folder = out_dir / FAILED_FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = folder / executed.name
    shutil.copyfile(executed, kept)
    return kept
