"""Settings files: errors that name the file, the line, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from crm_core.config import Settings, parse_yaml, read_yaml
from crm_core.errors import InputError


class Rule(Settings):
    name: str
    share: float = Field(0.1, ge=0, le=1)
    kind: Literal["rule", "cluster"] = "rule"


class Book(Settings):
    title: str = "none"
    rules: list[Rule] = Field(default_factory=list)
    named: dict[str, Rule] = Field(default_factory=dict)
    one: Rule | None = None


def wrong(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, Book, "conf/book.yml")
    return str(caught.value)


def test_a_file_becomes_a_frozen_model_of_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "我的 100%.yml"
    path.write_text("title: 店  # comment\nrules:\n  - {name: a, share: 0.5}\nnamed:\n  x: {name: b}\n", encoding="utf-8")
    book = read_yaml(path, Book)
    assert (book.title, book.rules[0].share, book.named["x"].name) == ("店", 0.5, "b")
    assert type(book.title) is str and type(book.rules[0].share) is float
    with pytest.raises(ValidationError):
        book.title = "other"


def test_an_empty_file_is_all_defaults() -> None:
    assert parse_yaml("", Book, "x") == parse_yaml("# nothing\n", Book, "x") == Book()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "title: a\ntitel: b\n",
            "conf/book.yml line 2: setting 'titel' is not known; did you mean 'title'? "
            "known: named, one, rules, title",
        ),
        (
            "title: a\nzzz: b\n",
            "conf/book.yml line 2: setting 'zzz' is not known; known: named, one, rules, title",
        ),
        (
            "rules:\n- name: a\n- name: b\n  shair: 1\n",
            "conf/book.yml line 4: setting 'shair' is not known; did you mean 'share'? "
            "known: kind, name, share",
        ),
        (
            "named:\n  x:\n    name: a\n    knd: rule\n",
            "conf/book.yml line 4: setting 'knd' is not known; did you mean 'kind'? known: "
            "kind, name, share",
        ),
        (
            "title: a\nrules:\n- share: 0.1\n",
            "conf/book.yml line 3: setting 'rules.0.name' is missing; add it",
        ),
        (
            "rules:\n- name: a\n  share: 1.5\n",
            "conf/book.yml line 3: setting 'rules.0.share': Input should be less than or "
            "equal to 1, found 1.5",
        ),
        (
            "rules:\n- name: a\n  kind: rul\n",
            "conf/book.yml line 3: setting 'rules.0.kind': Input should be 'rule' or "
            "'cluster', found 'rul'",
        ),
        ("title: [a]\n", "conf/book.yml line 1: setting 'title': Input should be a valid string"),
        (
            "one:\n  name: a\n  share: lots\n",
            "conf/book.yml line 3: setting 'one.share': Input should be a valid number, "
            "unable to parse string as a number, found 'lots'",
        ),
        ("- a\n- b\n", "conf/book.yml line 1: settings like 'name: value' are expected, found a list"),
        (
            "just text\n",
            "conf/book.yml line 1: settings like 'name: value' are expected, found a single value",
        ),
        ("title: 'a\n", "conf/book.yml line 2: "),
        ("title: a\ntitle: b\n", "conf/book.yml line 2: found duplicate key"),
        ("title: a\n\trules: b\n", "conf/book.yml line 2: "),
        ("title: !!python/object/apply:os.system ['true']\n", "conf/book.yml"),
        ("title: *nowhere\n", "conf/book.yml line 1: found undefined alias"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_what_is_allowed(text: str, message: str) -> None:
    assert wrong(text).startswith(message)


def test_several_errors_come_at_once_each_on_its_own_line() -> None:
    lines = wrong("titel: a\nrules:\n- {name: a, share: 7}\n- {share: 0.2}\n").splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["conf/book.yml line 1", "conf/book.yml line 3", "conf/book.yml line 4"]


def test_a_missing_unreadable_or_wrongly_encoded_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yml cannot be read: No such file or directory"):
        read_yaml(tmp_path / "none.yml", Book)
    (tmp_path / "gbk.yml").write_bytes("title: 店".encode("gb18030"))
    with pytest.raises(InputError, match=r"gbk\.yml is not UTF-8 \(byte 7\); save it as UTF-8"):
        read_yaml(tmp_path / "gbk.yml", Book)
