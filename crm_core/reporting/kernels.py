"""The papermill side of a run: a kernel manager that forks, an engine that notes when the kernel was ready.

Imported only when a notebook runs: papermill and nbformat cost two seconds at import. The kernel
specification is made in code, so that it holds in any environment without files to install.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import threading
from importlib.metadata import EntryPoint
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from crm_core import errors
from crm_core.reporting import provisioner
from crm_core.reporting.runner import Clock, Execution

ENGINE = "crm"
START_SECONDS = 120
_import_lock = threading.Lock()


class ReportKernelManager(AsyncKernelManager):  # type: ignore[misc]
    """A kernel manager with our specification and environment."""

    provisioner_name = provisioner.NAME
    environment: dict[str, str]
    folder: str

    @property
    def kernel_spec(self) -> KernelSpec:
        """ipykernel of this very Python, launched by our provisioner."""
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
            metadata={"kernel_provisioner": {"provisioner_name": self.provisioner_name}},
        )

    async def start_kernel(self, **options: Any) -> None:
        """Start with our environment in the notebook's folder; no IPython history is written."""
        options["extra_arguments"] = [*options.get("extra_arguments", []), "--HistoryManager.enabled=False"]
        await super().start_kernel(**{**options, "env": self.environment, "cwd": self.folder})


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    clock: Clock
    manager: ReportKernelManager

    def create_kernel_manager(self) -> ReportKernelManager:
        self.km = self.manager
        return self.manager

    def papermill_execute_cells(self) -> None:
        import time

        self.clock.ready = time.perf_counter()
        try:
            super().papermill_execute_cells()
        finally:
            self.clock.ended = time.perf_counter()


class ReportEngine(Engine):  # type: ignore[misc]
    """papermill engine that runs on our kernel manager."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """Called by papermill. `manager`, `clock`, `timeout` come through `execute`."""
        client = _Client(
            nb_man,
            timeout=options["timeout"],
            startup_timeout=START_SECONDS,
            kernel_name=kernel_name,
            log=logging.getLogger("crm_core.reporting"),
        )
        client.manager, client.clock = options["manager"], options["clock"]
        return client.execute()


papermill_engines.register(ENGINE, ReportEngine)


def execute(job: Execution) -> str:
    """Execute the notebook; '' or one line that says which cell ended how."""
    _register_provisioner()
    manager = ReportKernelManager()
    # papermill's own `cwd` changes the folder of this whole process, under the feet of other threads
    manager.environment, manager.folder = job.environment, str(job.path.resolve().parent)
    if not job.forked:
        manager.provisioner_name = "local-provisioner"
    job.managers.append(manager)
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it logs each cell; our caller logs each notebook
    try:
        # from a copy in the scratch folder: papermill takes braces in a path for placeholders
        source = job.target.with_name("source.ipynb")
        shutil.copyfile(job.path, source)
        papermill.execute_notebook(
            str(source),
            str(job.target),
            parameters=job.values,
            engine_name=ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            request_save_on_cell_execute=False,
            autosave_cell_every=0,
            manager=manager,
            clock=job.clock,
            timeout=job.cell_timeout,
        )
    except PapermillExecutionError as error:
        return cell_error(error.exec_count, error.ename, error.evalue)
    except Exception as error:  # noqa: BLE001 - a dead kernel, a cell's time limit: the notebook's result
        kind = type(error).__name__
        if kind == "CellTimeoutError":
            return f"a cell took longer than {job.cell_timeout} seconds"
        if kind == "DeadKernelError":
            return "the kernel died (out of memory, or killed)"
        return f"{kind} outside the cells"
    return ""


def cell_error(number: int | None, name: str, value: str) -> str:
    """One line about a failed cell. The message is quoted only for our own errors: those carry no values of
    members."""
    ours = isinstance(getattr(errors, name, None), type)
    return f"cell {number} ended with {name}" + (f": {value}" if ours else "")


def kill(manager: Any) -> None:
    """Kill a kernel's process group if it still runs; from any thread, without the manager's event loop."""
    process = getattr(getattr(manager, "provisioner", None), "process", None)
    if process is None or process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _register_provisioner() -> None:
    # Known by entry point when the package is installed; a source tree works as well.
    with _import_lock:
        factory = KernelProvisionerFactory.instance()
        target = f"{provisioner.__name__}:{provisioner.ForkServerProvisioner.__name__}"
        entry = EntryPoint(provisioner.NAME, target, KernelProvisionerFactory.GROUP_NAME)
        factory.provisioners.setdefault(provisioner.NAME, entry)
