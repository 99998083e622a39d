"""The command line as its users type it: every command on one small demo, in a folder whose name is hard; and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CRM = Path(sys.executable).parent / "crm"
pytestmark = pytest.mark.slow


def crm(root: Path | None, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CRM_")}
    where = ["--workspace", str(root)] if root else []
    done = subprocess.run([CRM, *where, *map(str, words)], capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def facts(root: Path, *words: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(crm(root, *words, "--json").stdout)
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli") / "我的 数据 100%"
    done = facts(root, "demo", "--members", "600", "--days", "400")
    assert done["run"]["state"] == "done"
    assert set(done["run"]["reports"]) == {
        "data_health",
        "rfm_segments",
        "member_tags",
        "member_value",
        "product_affinity",
        "campaign_result",
    }
    counts = done["counts"]
    assert counts["selected"] == counts["exported"] + counts["held_out"] + sum(counts["rejected"].values())
    return root


def test_a_second_demo_finds_everything_done(shop: Path) -> None:
    before = facts(shop, "loads")["loads"]
    again = facts(shop, "demo", "--members", "600", "--days", "400")
    assert again["run"]["state"] == "done"
    assert facts(shop, "loads")["loads"] == before


def test_a_demo_of_another_world_is_refused_in_the_same_workspace(shop: Path) -> None:
    refused = crm(shop, "demo", "--members", "700", code=2).stderr
    assert "this workspace holds a demo of" in refused


def test_every_load_adds_up_and_its_rejects_are_listed_without_contact_data(shop: Path) -> None:
    loads = facts(shop, "loads")["loads"]
    assert all(load["read"] == load["accepted"] + load["duplicate"] + load["rejected"] for load in loads)
    load = next(load for load in loads if load["rejected"])
    rejected = facts(shop, "rejects", load["load_id"], "--limit", "1000")
    assert rejected["rejected"] == load["rejected"] == len(rejected["rows"])
    assert {"file", "row_number", "reason"} <= set(rejected["rows"][0])


def test_a_member_is_shown_whole_with_reasons(shop: Path) -> None:
    payload = sorted((shop / "data" / "exports").rglob("snapshot.parquet"))[0]
    import pyarrow.parquet as pq

    member_id = pq.read_table(payload)["member_id"][0].as_py()
    card = facts(shop, "member", member_id)
    assert card["member_id"] == member_id
    assert {segment["reference"].split(":")[0] for segment in card["segments"]} >= {"rfm", "type"}
    assert any(tag["fired"] for tag in card["tags"])
    assert card["campaigns"][-1]["arm"] == "message"
    text = crm(shop, "member", member_id).stdout
    assert "at_risk" in text or "rfm:" in text


def test_segments_and_tags_tell_size_definition_and_movement(shop: Path) -> None:
    segment = facts(shop, "segment", "at_risk")
    assert segment["segment"] == "rfm:at_risk"
    assert segment["previous"] == "2026-10-01"
    assert sum(row["members"] for row in segment["movement"] if row["to_segment"] == "at_risk") == segment["members"]
    tag = facts(shop, "tag", "spending_level")
    assert sum(row["members"] for row in tag["values"]) == 600


def test_a_day_behind_the_data_is_answered_with_a_word_of_warning(shop: Path) -> None:
    said = crm(shop, "segment", "champions", "--as-of", "2026-11-10").stdout
    assert "the data end on 2026-10-31: as of 2026-11-10, nothing is known of the 10 days between" in said
    assert "the data end" not in crm(shop, "segment", "champions", "--as-of", "2026-10-31").stdout


def test_on_few_members_the_gate_speaks_instead_of_a_model(shop: Path) -> None:
    cards = facts(shop, "model")["models"]
    assert {"churn", "next_purchase", "next_category"} <= cards.keys()
    assert cards["churn"]["verdict"] == cards["next_purchase"]["verdict"] == "insufficient"
    said = crm(shop, "model", "churn").stdout
    buyers = next(need for need in cards["churn"]["needs"] if need["what"] == "buyers_before_backtest")
    assert 0 < buyers["found"] < buyers["needed"] == 1000
    assert f"检验之前的买家 {buyers['found']:,.0f}，需要 1,000" in said
    report = max((shop / "reports").glob("*/member_value.html")).read_text(encoding="utf-8")
    assert "数据不足" in report
    assert f"检验之前的买家 {buyers['found']:,.0f}，需要 1,000" in report


def test_a_campaign_is_planned_judged_and_its_list_rebuilt(shop: Path) -> None:
    assert facts(shop, "campaign", "plan", "second_order")["members"] > 0
    judged = facts(shop, "campaign", "evaluate", "winback_at_risk")
    assert {row["reading"] for row in judged["results"]} <= {"raised", "lowered", "no_evidence"}
    listed = facts(shop, "campaign", "freeze", "winback_at_risk", "--as-of", "2026-10-01")
    assert facts(shop, "rebuild", listed["audience_id"])["same"]


def test_a_run_is_rebuilt_and_the_audit_trail_holds(shop: Path) -> None:
    run = facts(shop, "run", "rfm_segments", "--as-of", "2026-10-15", "--language", "en")
    assert run["state"] == "done"
    assert facts(shop, "rebuild", run["run_id"])["same"]
    assert facts(shop, "audit")["intact"]


def test_compacting_and_vacuuming_change_nothing_that_is_said(shop: Path) -> None:
    before = facts(shop, "segment", "champions")
    crm(shop, "compact")
    crm(shop, "vacuum")
    assert facts(shop, "segment", "champions") == before


def test_the_doctor_finds_nothing_wrong_here(shop: Path) -> None:
    checks = facts(shop, "doctor")["checks"]
    assert [check for check in checks if check["state"] == "wrong"] == []


def test_undo_takes_a_load_back(shop: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    root = tmp_path / "undone"
    facts(shop, "simulate", raw, "--members", "50", "--days", "90")
    report = facts(root, "ingest", "sample", raw)
    assert report["adds_up"]
    assert "nothing changed" in crm(root, "ingest", "sample", raw).stdout
    facts(root, "undo", report["load_id"])
    assert [load["state"] for load in facts(root, "loads")["loads"]] == ["undone"]
    assert "the load was taken back, and what it refused went with it" in crm(root, "rejects", report["load_id"]).stdout
    assert "0 members, 0 orders" in crm(root, "doctor").stdout


def test_a_dry_run_writes_nothing(shop: Path, tmp_path: Path) -> None:
    raw, root = tmp_path / "raw", tmp_path / "dry"
    facts(shop, "simulate", raw, "--members", "50", "--days", "90")
    assert facts(root, "ingest", "sample", raw, "--dry-run")["read"] > 0
    assert facts(root, "loads")["loads"] == []


BAD = [
    (["ingest", "sampel", "x.csv"], "source 'sampel' is not known in conf/sources/; did you mean 'sample'?"),
    (["ingest", "sample", "no_such_file.csv"], "no_such_file.csv"),
    (["ingest", "sample"], "no file was named for source 'sample'; name files or a folder"),
    (["segment", "at_rsik"], "did you mean 'at_risk'?"),
    (["tag", "spendig_level"], "did you mean 'spending_level'?"),
    (["run", "rfm_segmnts"], "notebook 'rfm_segmnts' is not known in notebooks/; did you mean 'rfm_segments'?"),
    (["run", "campaign_result", "-p", "campain=x"], "parameter 'campain' is not known"),
    (["run", "data_health", "-p", "loads=many"], "takes int, found 'many'"),
    (["run", "data_health", "-p", "loads"], "write -p name=value"),
    (["run", "--as-of", "2026-02-30"], "'2026-02-30' is not a date"),
    (["run", "--language", "fr"], "language 'fr' is not known"),
    (["campaign", "plan", "winbak_at_risk"], "did you mean 'winback_at_risk'?"),
    (["campaign", "export", "winback_at_risk", "--platform", "canonicl"], "did you mean 'canonical'?"),
    (["campaign", "export", "winback_at_risk", "--at", "soon"], "'soon' is not a time"),
    (["member", "nobody"], "member 'nobody' is not among the members"),
    (["member"], "name one member"),
    (["rebuild", "nothing"], "run 'nothing' is not known"),
    (["undo", "nothing"], "nothing"),
    (["segmnt"], "Did you mean 'segment'?"),
    (["simulate", "x", "--members", "many"], "--members"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_gets_one_clear_message_and_code_2(shop: Path, words: list[str], message: str) -> None:
    done = crm(shop, *words, code=2)
    assert message in done.stderr
    assert done.stderr.startswith("crm: ")


def test_a_typo_in_a_conf_file_is_named_with_file_and_line(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "project.yml").write_text("name: x\ntime_zon: Asia/Shanghai\n")
    wrong = crm(tmp_path, "loads", code=2).stderr
    assert "project.yml line 2: setting 'time_zon' is not known; did you mean 'time_zone'?" in wrong


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    assert "load some with `crm ingest" in crm(tmp_path, "run", code=2).stderr


def test_a_workspace_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in crm(tmp_path / "nowhere", "loads", code=2).stderr


def test_help_names_every_command_and_answers_without_a_workspace() -> None:
    shown = crm(None, "--help").stdout
    for command in ("demo", "ingest", "run", "campaign", "rebuild", "serve"):
        assert command in shown
