"""Erased for ever: out of vault, hand-offs, refused rows and inbox; not brought back by undo or by the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from crm_core.campaigns import export, freeze
from crm_core.erase import Certificate, erase
from crm_core.errors import InputError, RunFailed
from crm_core.ingest import LoadReport, ingest, loads, undo
from crm_core.store import delta
from crm_core.store.ledger import AuditEntry
from crm_core.workspace import Workspace
from tests.end_to_end.byte_search import holds
from tests.ingest.corner_shop import EXAMPLE, order, text_of, write

CAMPAIGN = """
title: {zh: 试验, en: Trial}
objective: tests
segment: order_count >= 1
control: 0.10
arms: {message: 0.90}
metric: net_amount
window_days: 14
template: "【商城】会员专享{offer}。拒收请回复R"
parameters: {offer: 30元券}
exclusions: {consent: false}
"""
EVENTS = """
source: app
title: {en: App, zh: 应用}
feeds:
  events:
    match: ["events*.jsonl"]
    fields:
      event_id: {heading: id, filled: true}
      nick: {heading: user.nick, private: true}
      receiver: {heading: user.name, private: true}
      occurred_at: {heading: at, type: time, filled: true}
    tables:
      interactions:
        columns: {event_id: event_id, member_id: account(nick), occurred_at: occurred_at, event: "'visit'"}
    contacts:
      - {account: nick, seen_at: occurred_at, name: receiver}
"""
PERSON = {"member_no": "tb赵小敏88", "mobile": "'139 0013-7777"}
SPELLINGS = ["tb赵小敏88", "13900137777", "139 0013-7777", "+8613900137777", "0013-7777"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("CRM_VAULT_KEY", "5a" * 32)
    root = tmp_path / "我的 数据 100%"
    write(root / "conf" / "sources" / "corner_shop.yml", EXAMPLE)
    write(root / "conf" / "sources" / "app.yml", EVENTS)
    write(root / "conf" / "campaigns" / "trial.yml", CAMPAIGN)
    return Workspace.open(root)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Orders of eighty others and of one person: good, refused, malformed; one shares the person's phone."""
    others = [order(at, member_no=f"M{at}") for at in range(1, 81)]
    ours = [order(101, **PERSON), order(102, **PERSON, amount="-1.00"), order(103, **PERSON, paid_at="2027-01-01")]
    more = [order(104, **PERSON, refunded="2.00"), order(105, member_no="M9", mobile="13900137777")]
    broken = "A106,tb赵小敏88,13900137777\nA107,M3,x\n"
    return [
        write(tmp_path / "in" / "订单1.csv", text_of([*others, *ours]) + broken, "gb18030"),
        write(tmp_path / "in" / "订单2.csv", text_of(more)),
    ]


def load(workspace: Workspace, files: list[Path]) -> list[str]:
    reports = [ingest(workspace.config, workspace.lake, workspace.vault, "corner_shop", [path]) for path in files]
    assert all(report.adds_up for report in reports)
    return [report.load_id for report in reports]


def reopened(workspace: Workspace) -> Workspace:
    return Workspace.open(workspace.root)


def forget(workspace: Workspace) -> Certificate:
    member_id = workspace.vault.member_id("corner_shop", PERSON["member_no"])
    return erase(reopened(workspace), member_id, actor="mei")


def handed_over(workspace: Workspace) -> Path:
    space = reopened(workspace)
    parts = {"lake": space.lake, "ledger": space.ledger, "vault": space.vault}
    freeze(space.tables, space.config, campaign="trial", **parts)
    return export(space.config, exports_dir=space.exports_dir, campaign="trial", **parts).folder


def test_nothing_of_the_person_is_left_and_the_same_files_bring_nothing_back(workspace: Workspace, files: list[Path]) -> None:
    ids = load(workspace, files)
    folder = handed_over(workspace)
    assert set(holds(workspace.root, SPELLINGS)) == {"tb赵小敏88", "13900137777", "139 0013-7777", "+8613900137777", "0013-7777"}
    made = forget(workspace)
    assert made.removed["refused_rows"] == 3 and made.removed["accounts"] == 2 and made.removed["contacts"] == 2
    assert made.also_held_by_members == 1
    held = holds(workspace.root, SPELLINGS)
    # the other member's own statement of the shared number is all that is left, in the vault
    assert {path.split("/")[1] for paths in held.values() for path in paths} <= {"vault"} and "tb赵小敏88" not in held
    for load_id in ids:
        undo(workspace.lake, workspace.vault, load_id)
    assert not holds(workspace.root, SPELLINGS)
    again = [ingest(workspace.config, workspace.lake, workspace.vault, "corner_shop", [path]) for path in files]
    assert [report.erased for report in again] == [4, 1]
    assert all(report.adds_up for report in again)
    held = holds(workspace.root, SPELLINGS)
    assert {path.split("/")[1] for paths in held.values() for path in paths} <= {"vault"} and "tb赵小敏88" not in held
    refused = workspace.lake.table("rejects")
    rows = refused.filter(refused.reason == "erased").to_pyarrow().to_pylist()
    assert {(row["field"], row["row"]) for row in rows} == {("member_no", None), ("", None)}
    assert workspace.ledger.verify_audit() > 0
    assert folder.is_dir()


def test_the_hand_off_loses_the_line_keeps_its_hashes_and_stops(workspace: Workspace, files: list[Path]) -> None:
    load(workspace, files[:1])
    folder = handed_over(workspace)
    before = (folder / "payload/part-0001.csv").read_bytes().splitlines()
    assert sum(b"13900137777" in line for line in before) == 1
    (cleaned,) = forget(workspace).exports
    assert (cleaned.export_id, cleaned.lines, cleaned.removed) == (folder.name, 1, False)
    after = (folder / "payload/part-0001.csv").read_bytes().splitlines()
    assert after == [line for line in before if b"13900137777" not in line]
    manifest = json.loads((folder / "manifest.json").read_text())
    part = next(each for each in manifest["files"] if each["path"].startswith("payload/"))
    assert part["rows"] == len(before) - 2 and len(manifest["erased"]) == 1
    space = reopened(workspace)
    rest = {"lake": space.lake, "ledger": space.ledger, "vault": space.vault, "exports_dir": space.exports_dir}
    with pytest.raises(InputError, match=r"erased 1.*--renew"):
        export(space.config, campaign="trial", **rest)
    renewed = export(space.config, campaign="trial", renew=True, **rest)
    assert b"13900137777" not in (renewed.folder / "payload/part-0001.csv").read_bytes()
    assert "erased" in pq.read_table(renewed.folder / "rejected.parquet")["reason"].to_pylist()


def test_a_second_time_changes_nothing_and_one_that_was_cut_off_is_completed(
    workspace: Workspace, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(workspace, files)
    handed_over(workspace)
    for stage in ("erase._blank", "store.vault.vault.Vault.sweep"):  # before and after the vault's own rows went
        with monkeypatch.context() as cut:
            cut.setattr(f"crm_core.{stage}", lambda *_: (_ for _ in ()).throw(RunFailed("cut off")))
            with pytest.raises(RunFailed):
                forget(workspace)
    made = forget(workspace)
    assert made.removed == {"refused_rows": 3, "inbox_files": 0, "contacts": 2, "accounts": 2}, "as if never cut off"
    assert made.suppressed == {"account": 1, "member": 1, "phone": 1}
    assert "tb赵小敏88" not in holds(workspace.root, SPELLINGS)
    again = forget(workspace)
    assert again.certificate == made.certificate and again.first_erased_at
    assert not any(again.removed.values()) and not again.suppressed
    with workspace.ledger.session() as session:
        assert session.query(AuditEntry).filter_by(action="erase").count() == 1


def test_files_read_before_and_written_after_do_not_bring_anybody_back(
    workspace: Workspace, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(workspace, files[:1])
    from crm_core.ingest import load as loading

    real = loading.write

    def late(*words: object) -> object:
        forget(workspace)
        return real(*words)

    monkeypatch.setattr(loading, "write", late)
    with pytest.raises(RunFailed, match="somebody was erased"):
        load(workspace, files[1:])
    monkeypatch.undo()
    monkeypatch.setenv("CRM_VAULT_KEY", "5a" * 32)
    load(workspace, files[1:])
    assert "tb赵小敏88" not in holds(workspace.root, SPELLINGS)


def test_loaded_files_left_in_the_inbox_go_and_others_wait(workspace: Workspace, files: list[Path]) -> None:
    inbox = workspace.inbox_dir / "corner_shop"
    inbox.mkdir(parents=True)
    kept = [path.rename(inbox / path.name) for path in files]
    load(workspace, kept[:1])
    made = forget(workspace)
    assert made.removed["inbox_files"] == 1 and made.inbox_files_waiting == 1
    assert [path.name for path in inbox.iterdir()] == ["订单2.csv"]
    assert made.inbox_files_left == {"corner_shop/订单2.csv": "1 rows of people who were erased"}


def test_files_of_the_inbox_that_no_live_load_holds_stay_and_are_named(workspace: Workspace, files: list[Path]) -> None:
    inbox = workspace.inbox_dir / "corner_shop"
    inbox.mkdir(parents=True)
    undone, live = (path.rename(inbox / path.name) for path in files)
    undo(workspace.lake, workspace.vault, load(workspace, [undone])[0])
    load(workspace, [live])
    strange = write(inbox / "备注.txt", "tb赵小敏88")
    harmless = write(inbox / "订单3.csv", text_of([order(201, member_no="M1")]))
    made = forget(workspace)
    assert (made.removed["inbox_files"], made.inbox_files_waiting) == (1, 3)
    assert sorted(inbox.iterdir()) == sorted([undone, strange, harmless])
    assert made.inbox_files_left["corner_shop/订单1.csv"] == "4 rows of people who were erased"
    assert made.inbox_files_left.keys() == {"corner_shop/订单1.csv", "corner_shop/备注.txt"}
    assert made.inbox_files_left["corner_shop/备注.txt"].startswith("could not be looked through: 备注.txt")
    load(workspace, [undone])
    assert workspace.lake.table("orders").count().to_pyarrow().as_py() == 82, "all orders of others came back"


def test_escaped_letters_of_json_lines_hide_nobody(workspace: Workspace, tmp_path: Path) -> None:
    def load_events(name: str, day: str) -> LoadReport:
        def event(at: str, nick: str = "爱吃鱼的小猫😀") -> str:
            return json.dumps({"id": f"{name}{at}", "user": {"nick": nick, "name": f"{nick}本人"}, "at": at})

        cut_off = event("x").split('"name"')[0]
        path = write(tmp_path / f"{name}.jsonl", "\n".join([event(day), event("x"), cut_off, event("x", "别人")]))
        return ingest(workspace.config, workspace.lake, workspace.vault, "app", [path])

    report = load_events("events1", "2026-10-01 08:00:00")
    assert (report.accepted, report.rejected) == (1, 3)
    (account,) = workspace.vault.accounts().to_pyarrow().to_pylist()
    assert erase(reopened(workspace), account["member_id"], actor="mei").removed["refused_rows"] == 2
    again = load_events("events2", "2026-10-02 08:00:00")
    assert (again.accepted, again.rejected, again.erased) == (0, 4, 3)


def test_a_short_account_takes_no_rows_of_others_that_hold_its_number(workspace: Workspace, tmp_path: Path) -> None:
    def load_orders(name: str, day: str) -> LoadReport:
        others = [order(at, member_no=f"M{at}", amount="abc", refunded="5") for at in range(20, 39)]
        others.append(order(39, order_id="5", channel="拼; 多; 多", amount="abc"))
        shifted = order(41, member_no="x", ordered_at="5", paid_at="x", amount="x")
        ours = [order(1, member_no="5", ordered_at=day), order(2, member_no=" 5", amount="abc"), shifted]
        lines = "A42,5,13800130042\nA5,M3,x5\n"
        path = write(tmp_path / name, text_of([*others, *ours]) + lines)
        return ingest(workspace.config, workspace.lake, workspace.vault, "corner_shop", [path])

    report = load_orders("订单1.csv", "2026-10-01 08:00:00")
    assert (report.accepted, report.rejected) == (1, 24)
    made = erase(reopened(workspace), workspace.vault.member_id("corner_shop", "5"), actor="mei")
    assert made.removed["refused_rows"] == 3, "the row of its own, the one whose columns are shifted, the line cut short"
    assert load_orders("订单2.csv", "2026-10-02 08:00:00").erased == 4


def test_of_refused_rows_the_lake_says_only_that_they_were_erased(workspace: Workspace, files: list[Path]) -> None:
    def refused() -> list[tuple[int, str, str | None]]:
        rows = workspace.lake.table("rejects").order_by("file", "row_number")
        return [(row["row_number"], row["reason"], row["row"]) for row in rows.to_pyarrow().to_pylist()]

    (load_id,) = load(workspace, files[:1])
    before = refused()
    assert [number for number, _, row in before if "****7777" in (row or "")] == [83, 84]
    forget(workspace)
    assert refused() == [(number, "erased", None) for number, _, _ in before[:3]] + before[3:]
    files_left = list((workspace.root / "data/lake/rejects").rglob("part*.parquet"))
    assert len(files_left) == 2, "that of the earlier snapshot, which somebody may read, too"
    for path in files_left:
        assert "7777" not in str(pq.read_table(path).to_pylist())
    told = loads(workspace.ledger)[0][0].detail["rejects"]
    assert {each["reason"] for each in told if each["row_numbers"][0] < 86} == {"erased"}
    undo(workspace.lake, workspace.vault, load_id)
    assert not refused()


@pytest.mark.parametrize("since_ever", [True, False])
def test_the_log_of_joined_files_does_not_repeat_what_refused_rows_said(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since_ever: bool
) -> None:
    words = [f"赵小敏推荐{number}" for number in range(12)]
    with monkeypatch.context() as before:
        if not since_ever:  # as tables were made that told the ranges of all columns in their log
            before.setattr(delta, "TELLING", {})
            before.setattr(delta, "KEEP_LOG", {"delta.enableExpiredLogCleanup": "false", "delta.checkpointInterval": "10"})
        for number, word in enumerate(words):
            load(workspace, [write(tmp_path / f"订单{number}.csv", text_of([order(number, channel=word, **PERSON)]))])
    folder = workspace.lake.root / "rejects"
    log = folder / "_delta_log"
    assert len(delta.files(folder, delta.current_version(folder) or 0)) < 6, "none were joined"
    assert bool(holds(log, words)) != since_ever
    account = "corner_shop", PERSON["member_no"]
    erase(reopened(workspace), workspace.vault.member_id(*account), account=account, actor="mei")
    assert not holds(workspace.root, words)
    assert len(reopened(workspace).lake.table("rejects").to_pyarrow()) == 12
    assert load(workspace, [write(tmp_path / "neu.csv", text_of([order(99, **PERSON)]))])


def test_somebody_whose_loads_were_taken_back_can_be_erased_by_account(workspace: Workspace, files: list[Path]) -> None:
    for load_id in load(workspace, files):
        undo(workspace.lake, workspace.vault, load_id)
    member_id = workspace.vault.member_id("corner_shop", PERSON["member_no"])
    with pytest.raises(InputError, match="no member of that id"):
        erase(reopened(workspace), "0" * 24, actor="mei")
    erase(reopened(workspace), member_id, account=("corner_shop", PERSON["member_no"]), actor="mei")
    load(workspace, files)
    newest = loads(workspace.ledger)[0][0]
    assert newest.detail["rows_erased"] == 1
