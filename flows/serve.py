"""`serve`: keeps a Prefect server on loopback and runs the nightly flow by its cron, until told to stop.

Each run is a process of its own, so a run that fails or is killed takes nothing with it. A run that is due
while another still runs is left out, and runs that were missed while nobody served are not made up for: the
reports are of a date, not of a moment. The server is started again when it dies. SIGTERM and SIGINT end the
run, the server and this process, in that order; what a hard kill leaves open is closed at the next start, in
our ledger and in Prefect's database.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

import flows  # it prepares the process before Prefect is imported

# isort: split

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runner import Runner
from prefect.states import Cancelled, Crashed
from pydantic import ValidationError

from crm_core import runs
from crm_core.errors import InputError, RunFailed
from crm_core.workspace import Workspace
from flows import local_server, nightly
from flows.local_server import Server

DEFAULT_CRON = "30 2 * * *"
POLL_SECONDS = 5
WATCH_SECONDS = 2.0
CHILDREN_SECONDS = 5.0
OPEN_STATES = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
log = logging.getLogger("crm")


def serve(workspace: str, *, cron: str = "", language: str = "", port: int = 0) -> None:
    """Runs the nightly flow of `workspace` by `cron` until SIGTERM or SIGINT.

    `cron`: five fields in the project's time zone, default the schedule of conf/reports.yml. `port`: of our
    server on loopback, 0 for a free one; a configured server (PREFECT_API_URL) is used instead of one of our
    own. Raises InputError for a wrong cron, language or port, RunFailed when another process already serves
    the workspace.
    """
    opened = Workspace.open(workspace)
    chosen = runs.language(opened, language)
    schedule = schedule_of(opened, cron)
    home = local_server.home_of(opened.root)
    os.environ[flows.SERVED] = "1"
    flows.lines_to_stderr()
    with _only_one(home):
        for run_id in runs.reconcile(opened):
            log.warning("run %s was cut off and is marked interrupted", run_id)
        with _server(home, port) as server:
            log.info("Prefect server at %s, schedule %s (%s)", server.url, schedule.cron, schedule.timezone)
            asyncio.run(_Service(opened, server, schedule, chosen).run())
        for run_id in runs.reconcile(opened):
            log.warning("run %s was stopped and is marked interrupted", run_id)
    log.info("stopped")


def schedule_of(workspace: Workspace, cron: str) -> CronSchedule:
    """The schedule asked for, else that of conf/reports.yml. Raises InputError when it is none."""
    configured = getattr(workspace.config.reports, "schedule", None)
    text = cron or getattr(configured, "cron", "") or DEFAULT_CRON
    zone = getattr(configured, "time_zone", "") or workspace.config.project.time_zone
    if len(text.split()) != 5:
        raise InputError(f"schedule '{text}' has {len(text.split())} fields; cron takes five, like '{DEFAULT_CRON}'")
    try:
        return CronSchedule(cron=text, timezone=zone)
    except ValidationError:
        advice = f"write minute, hour, day, month and weekday, like '{DEFAULT_CRON}'"
        raise InputError(f"schedule '{text}' is no cron expression; {advice}") from None


class _Service:
    """The runner and the watch over the server, in one event loop."""

    def __init__(self, workspace: Workspace, server: Server, schedule: CronSchedule, language: str) -> None:
        self._workspace, self._server, self._schedule, self._language = workspace, server, schedule, language
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serves until a signal asks to stop. Raises RunFailed when the runner ends by itself."""
        runner = Runner(name="crm", query_seconds=POLL_SECONDS, prefetch_seconds=1, pause_on_shutdown=False, heartbeat_seconds=30)
        deployment = await self._register(runner)
        await close_open_runs(deployment)
        work = asyncio.create_task(runner.start())
        watch = asyncio.create_task(self._keep_server())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.sleep(0)  # the runner puts its own handlers in place in its first step; ours replace them
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        log.info("waiting for the next run")
        await asyncio.wait({work, watch, stop}, return_when=asyncio.FIRST_COMPLETED)
        asked = self._stop.is_set()
        watch.cancel()
        await self._end(runner, work)
        if not asked:
            raise RunFailed("the Prefect runner ended by itself; see data/prefect/server.log, and start again")

    async def _register(self, runner: Runner) -> UUID:
        deployment: UUID = await runner.aadd_flow(
            nightly.nightly,
            name=deployment_name(self._workspace),
            schedules=[self._schedule],
            parameters={"workspace": str(self._workspace.root), "language": self._language},
            # a run that is due while one is going on is left out: two would only wait for each other's lease
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        )
        return deployment

    async def _keep_server(self) -> None:
        """Starts our server again whenever it ends; its address and password stay."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            process = self._server.process
            if process is not None and process.poll() is not None and not self._stop.is_set():
                log.warning("the Prefect server ended with code %s and is started again", process.returncode)
                await asyncio.to_thread(self._server.restart)

    async def _end(self, runner: Runner, work: asyncio.Task[None]) -> None:
        # the run first: the runner would give it half a minute, and only then say how it ended
        server = None if self._server.process is None else self._server.process.pid
        await asyncio.to_thread(end_children, server)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(runner.astop(), CHILDREN_SECONDS)
        work.cancel()
        await asyncio.wait({work}, timeout=CHILDREN_SECONDS)
        await asyncio.to_thread(end_children, server)  # one that was due in between


def deployment_name(workspace: Workspace) -> str:
    """One name for each workspace, also where several share a configured server."""
    return f"nightly-{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:8]}"


async def close_open_runs(deployment: UUID) -> int:
    """Ends what a hard kill left open in Prefect's database, and runs that were missed; returns how many."""
    closed = 0
    async with get_client() as client:
        found = await client.read_flow_runs(
            flow_run_filter=_of(deployment, [*OPEN_STATES, StateType.SCHEDULED]),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=200,
        )
        for run in found:
            if run.state_type in OPEN_STATES:
                state = Crashed(message="its process was cut off")
            elif run.expected_start_time is None or run.expected_start_time > datetime.now(UTC):
                continue
            else:
                state = Cancelled(message="nobody served when it was due")
            await client.set_flow_run_state(run.id, state, force=True)
            closed += 1
    return closed


def end_children(spared: int | None) -> None:
    """Ends every process below this one but `spared` (the server, which is ended last), by force after ten
    seconds."""
    children = [child for child in psutil.Process().children(recursive=True) if child.pid != spared]
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    for child in psutil.wait_procs(children, timeout=CHILDREN_SECONDS)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _of(deployment: UUID, states: list[Any]) -> FlowRunFilter:
    return FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
    )


@contextlib.contextmanager
def _server(home: Path, port: int) -> Iterator[Server]:
    if url := local_server.configured():
        server = Server(url, home)
    else:
        server = local_server.start(home, port=port, scheduling=True)
    try:
        server.wait()
        # the processes of the runs read their settings from the environment
        settings = {key.name: str(value) for key, value in local_server.client_settings(server).items()}
        os.environ.update(settings)
        with local_server.connected(server):
            yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    with (home / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFailed("this workspace is already served by another process; stop that one first") from None
        yield
