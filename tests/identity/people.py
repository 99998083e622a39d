"""Workspaces of people: the two public sets of duplicated persons, and made-up ones, loaded as any shop's file is."""

from __future__ import annotations

import csv
import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow.compute as pc

from crm_core.ingest import ingest
from crm_core.workspace import Workspace

SOURCE = """
source: {name}
namespace: {name}
backdate: true
feeds:
  people:
    match: ["*.csv"]
    reader: {{encoding: utf-8, delimiter: ","}}
    fields:
{fields}
    tables:
      members:
        effective_at: date('2020-01-01')
        columns: {{member_id: account({account}), registered_at: date('2020-01-01')}}
    contacts:
      - {{account: {account}, seen_at: date('2020-01-01'), {contacts}}}
"""
FEBRL = {
    "given_name": "given_name", "family_name": "surname", "birth_date": "date_of_birth", "address": "address_1",
    "city": "suburb", "postcode": "postcode",
}  # fmt: skip
FAKE = {"given_name": "first_name", "family_name": "surname", "birth_date": "dob", "city": "city", "email": "email"}
LIKENESS = "keys: {keys}\nprobabilistic: {{enabled: true}}\n"
Rows = list[dict[str, str]]


def open_people(
    root: Path, source: str, account: str, headings: dict[str, str], keys: str = "{}", identity: str = LIKENESS
) -> Workspace:
    """A workspace in `root` with one source: `account` is the heading of the id, `headings` kind of contact → heading."""
    fields = [f"      {account}: {{heading: {account}, filled: true, private: true}}"]
    fields += [f"      {heading}: {{heading: {heading}}}" for heading in headings.values()]
    contacts = ", ".join(f"{kind}: {heading}" for kind, heading in headings.items())
    text = SOURCE.format(name=source, account=account, fields="\n".join(fields), contacts=contacts)
    (root / "conf" / "sources").mkdir(parents=True)
    (root / "conf" / "sources" / f"{source}.yml").write_text(text, encoding="utf-8")
    (root / "conf" / "identity.yml").write_text(identity.format(keys=keys), encoding="utf-8")
    return Workspace.open(root, "2026-10-31")


def load(workspace: Workspace, source: str, path: Path) -> None:
    """One load."""
    report = ingest(workspace.config, workspace.lake, workspace.vault, source, [path])
    assert report.accepted == report.read and report.read


def reopened(workspace: Workspace) -> Workspace:
    """The newest state of the same folder."""
    return Workspace.open(workspace.root, workspace.as_of)


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """`rows` as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> Rows:
    """A CSV file as rows; blanks after commas are not part of a cell."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


def persons(workspace: Workspace) -> dict[str, str]:
    """member_id → person_id."""
    rows = workspace.tables.members.select("member_id", "person_id").to_pyarrow()
    assert pc.count_distinct(rows["member_id"]).as_py() == rows.num_rows
    return dict(zip(rows["member_id"].to_pylist(), rows["person_id"].to_pylist(), strict=True))


def pairs(groups: dict[str, str]) -> set[tuple[str, str]]:
    """Every pair that is in one group; `groups` maps member → group."""
    members = defaultdict(list)
    for member, group in groups.items():
        members[group].append(member)
    return {pair for each in members.values() for pair in itertools.combinations(sorted(each), 2)}


def quality(found: set[tuple[str, str]], truth: set[tuple[str, str]]) -> tuple[float, float, float]:
    """(precision, recall, F1) over pairs."""
    right = len(found & truth)
    precision, recall = right / max(len(found), 1), right / max(len(truth), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def made_up(people: int = 400, seed: int = 11) -> tuple[Rows, dict[str, str]]:
    """(rows, id → person): every second person has a second record with one or two slips of the pen and no shared phone."""
    rng = random.Random(seed)
    family, given = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗", "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰萍"
    cities = ["上海", "杭州", "南京", "成都", "武汉", "广州"]
    rows, truth = [], {}
    for number in range(people):
        day = f"{rng.randint(1955, 2005)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        first = {
            "id": f"A{number:05d}", "name": rng.choice(family) + "".join(rng.choices(given, k=2)), "born": day,
            "city": rng.choice(cities), "street": f"{rng.choice(given)}{rng.choice(given)}路{rng.randint(1, 999)}号",
        }  # fmt: skip
        again = [first]
        if number % 2:
            second = dict(first, id=f"B{number:05d}")
            slip = rng.choice(["born", "street", "city", "name", "none"])
            if slip == "born":
                second["born"] = day[:-1] + str((int(day[-1]) + 1) % 10)
            elif slip != "none":
                second[slip] = "" if slip != "name" else first["name"][:-1]
            again.append(second)
        rows += again
        truth |= {row["id"]: first["id"] for row in again}
    rng.shuffle(rows)
    return rows, truth


def chunks(rows: Rows, number: int) -> Iterable[Rows]:
    """`rows` in `number` parts."""
    size = -(-len(rows) // number)
    return (rows[start : start + size] for start in range(0, len(rows), size))
