"""`crm serve`: the schedule, the lock, and a service of two unattended runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from crm_core.errors import InputError, RunFailed
from crm_core.store.ledger import Run
from crm_core.workspace import Workspace
from flows import local_server, serve
from tests.flows import corner

CRM = str(Path(sys.executable).parent / "crm")
PATIENCE = 240.0


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(corner.make(tmp_path / "shop", {"one": corner.GOOD, "two": corner.BAD}))


def test_a_schedule_is_five_fields_in_the_projects_time_zone(workspace: Workspace) -> None:
    schedule = serve.schedule_of(workspace, "15 3 * * 1-5")
    assert (schedule.cron, schedule.timezone) == ("15 3 * * 1-5", "Asia/Shanghai")
    assert serve.schedule_of(workspace, "").cron.count(" ") == 4


@pytest.mark.parametrize("wrong", ["daily", "61 2 * * *", "* * * *", "0 30 2 * * *"])
def test_a_schedule_that_is_none_is_refused(workspace: Workspace, wrong: str) -> None:
    with pytest.raises(InputError, match="schedule '"):
        serve.schedule_of(workspace, wrong)


def test_a_workspace_is_served_by_one_process_only(tmp_path: Path) -> None:
    with serve._only_one(tmp_path), pytest.raises(RunFailed, match="already served"), serve._only_one(tmp_path):
        pass


def test_each_workspace_has_a_deployment_of_its_own(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace.open(corner.make(tmp_path / "other", {"one": corner.GOOD}))
    assert serve.deployment_name(workspace) != serve.deployment_name(other)


@pytest.mark.slow
def test_it_runs_twice_unattended_survives_a_failure_and_ends_with_all_its_children(workspace: Workspace) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(workspace.root / "user")}
    environment.pop("PREFECT_API_URL", None)
    command = [CRM, "--workspace", str(workspace.root), "serve", "--cron", "* * * * *"]
    log = workspace.root / "serve.log"
    with log.open("w") as lines:
        service = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines)
    try:
        wait_for(lambda: len(finished(workspace)) >= 2, service, log)
        children = psutil.Process(service.pid).children(recursive=True)
        listening = [
            each.laddr.ip
            for process in [psutil.Process(service.pid), *children]
            for each in process.net_connections("inet")
            if each.status == psutil.CONN_LISTEN
        ]
        assert listening and set(listening) == {"127.0.0.1"}
        assert local_server.find(local_server.home_of(workspace.root)) is not None
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0, log.read_text()
    finally:
        service.kill()
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert {run.state for run in finished(workspace)} <= {"failed", "interrupted"}  # notebook two fails each time
    assert len(list((workspace.root / "reports").glob("*/one.html"))) >= 2
    assert corner.PHONE not in log.read_text()


def finished(workspace: Workspace) -> list[Run]:
    with workspace.ledger.session() as session:
        return list(session.scalars(select(Run).where(Run.state != "running")))


def wait_for(condition: object, service: subprocess.Popen[bytes], log: Path) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert service.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
