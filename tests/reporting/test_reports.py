"""The reports on a small workspace: made in both languages, opened in a browser at two widths, nothing
live in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from crm_core.config import Config
from crm_core.reporting import Job, NotebookResult, RunFacts, run_notebooks, write_index, write_run
from crm_core.reporting.page import PHONE
from crm_core.reporting.views import RfmSegments
from crm_core.workspace import Workspace
from tests.reporting.browser import Browser, Seen
from tests.require import chromium, need

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
WIDTHS = (1280, 390)


@pytest.fixture(scope="module", params=["zh", "en"])
def made(request: pytest.FixtureRequest, small_world: Path) -> dict[str, NotebookResult]:
    """Every notebook run on the small workspace, in one language, with its index."""
    reports = small_world / "reports"
    results = run_notebooks(
        [Job(path) for path in NOTEBOOKS], out_dir=reports / request.param, language=request.param,
        env={"CRM_WORKSPACE": str(small_world)},
    )  # fmt: skip
    write_run(reports, RunFacts(request.param, "2026-10-31", request.param, project="示例"), results)
    write_index(reports, language=request.param)
    return {result.notebook: result for result in results}


@pytest.fixture(scope="module")
def seen(made: dict[str, NotebookResult], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Seen]:
    """What a browser saw of every page."""
    need(chromium(), "chromium (apt install chromium)")
    pages = {name: result.html for name, result in made.items()}
    first = next(iter(made.values())).html
    assert first is not None
    pages["index"] = first.parents[1] / "index.html"
    open_all = "document.querySelectorAll('details').forEach(each => each.open = true)"
    with Browser() as browser:
        return {
            (name, width): browser.open(page, width, script=open_all)
            for name, page in pages.items()
            if page is not None
            for width in WIDTHS
        }


@pytest.mark.parametrize("name", NAMES)
def test_every_report_is_made(made: dict[str, NotebookResult], name: str) -> None:
    assert made[name].ok, made[name].error
    assert made[name].summary["as_of"] == "2026-10-31" and made[name].summary["read"]["rows"]


@pytest.mark.parametrize("name", NAMES)
def test_no_report_holds_code_a_phone_an_address_or_a_member(made: dict[str, NotebookResult], name: str) -> None:
    page = made[name].html
    assert page is not None
    text = page.read_text(encoding="utf-8")
    for word in ("Workspace.open", "import ", "Traceback", "<script", "javascript:", "http://", "https://", "m000001"):
        assert word not in text, word
    assert not PHONE.search(re.sub(r"<[^>]*>", " ", text.split("</style>")[1]))


@pytest.mark.browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_a_browser_makes_no_request_and_has_nothing_to_complain_of(
    seen: dict[tuple[str, int], Seen], name: str, width: int
) -> None:
    page = seen[name, width]
    assert page.requests == [] and page.console == [] and page.dialogs == 0
    assert page.overflow <= 0, "the page is wider than the screen"
    assert len(page.text) > 100


@pytest.mark.browser
def test_the_hostile_words_of_the_data_are_there_to_be_read(seen: dict[tuple[str, int], Seen]) -> None:
    assert "<script>alert('x')</script>" in seen["member_tags", 1280].text


def test_the_campaign_report_reads_the_known_effect(made: dict[str, NotebookResult]) -> None:
    assert re.search("提升|raised", made["campaign_result"].summary["sentence"])
    text = Path(str(made["campaign_result"].html)).read_text(encoding="utf-8")
    assert re.search("统计 2026-10-11 – 2026-10-24 的订单|counts orders of 2026-10-11 – 2026-10-24", text)


def test_groups_and_eight_types_add_up_to_the_members(made: dict[str, NotebookResult], small_world: Path) -> None:
    rows = _table(made["rfm_segments"], 0)
    counts = [row[1]["text"] for row in [*rows["rows"], *rows["more"]]]
    assert sum(int(re.sub(r"\D", "", count)) for count in counts if not count.startswith("<")) <= 1500
    assert re.sub(r"\D", "", rows["total"][1]["text"]) == "1500"


def test_the_funnel_adds_up(made: dict[str, NotebookResult]) -> None:
    for row in _table(made["campaign_result"], 0)["rows"]:
        chosen, handed, held, refused = (int(re.sub(r"\D", "", cell["text"]) or 0) for cell in row[-5:-1])
        assert chosen == handed + held + refused and row[-1]["text"] in ("是", "yes")


def test_what_tags_take_from_models_has_the_words_of_reports(made: dict[str, NotebookResult]) -> None:
    assert made["member_tags"].html is not None
    text = made["member_tags"].html.read_text(encoding="utf-8")
    assert re.search("流失预警：类别|Churn warning: class", text) and "churn label" not in text


def test_what_was_not_supplied_is_named_with_its_cost(made: dict[str, NotebookResult]) -> None:
    assert made["data_health"].html is not None
    text = made["data_health"].html.read_text(encoding="utf-8")
    assert "商机与销售漏斗" in text or "Opportunities and the sales pipeline" in text


def test_without_a_campaign_the_report_says_not_supplied(small_world: Path, tmp_path: Path) -> None:
    path = next(path for path in NOTEBOOKS if path.stem == "campaign_result")
    env = {"CRM_WORKSPACE": str(small_world)}
    day, name = {"as_of": "2026-09-30"}, {"campaign": "second_order"}
    none, other = run_notebooks([Job(path, day), Job(path, name)], concurrency=1, out_dir=tmp_path, env=env)
    assert none.ok and other.ok and other.summary["blocks"]["missing"] >= 1
    assert none.summary["blocks"]["missing"] >= 1


@pytest.mark.parametrize(
    ("scheme", "shown"), [("lifecycle", {"lifecycle"}), ("rfm", {"group_sizes", "grid", "movement", "distinctive"})]
)
def test_sections_of_schemes_that_are_off_say_so_and_the_others_are_made(small_world, scheme, shown):
    texts = Workspace.open(small_world).config.texts()
    config = Config({**texts, "segments.yml": f"schemes: [{scheme}]\n"})
    view = RfmSegments(Workspace.open(small_world, "2026-10-31", config=config))
    sections = ["group_sizes", "grid", "types", "lifecycle", "clusters", "movement", "distinctive"]
    made = {name: getattr(view, name)().data for name in sections}
    assert {name for name, data in made.items() if "schemes" not in data.get("text", "")} == shown
    cards = {card["label"]: card["value"] for card in view.headline().data["cards"]}
    assert (cards[view.text("at_risk_members")] == "–") == ("rfm" not in scheme)
    assert view.next_steps().kind in ("steps", "note")


def test_an_unknown_campaign_and_a_wrong_date_are_one_clear_error(small_world: Path, tmp_path: Path) -> None:
    by_name = {path.stem: path for path in NOTEBOOKS}
    jobs = [
        Job(by_name["campaign_result"], {"campaign": "winback"}),
        Job(by_name["rfm_segments"], {"compare_with": "2026-02-31"}),
        Job(by_name["data_health"], {"as_of": "31.10.2026"}),
    ]
    errors = [one.error for one in run_notebooks(jobs, out_dir=tmp_path, env={"CRM_WORKSPACE": str(small_world)})]
    assert "UnknownName: campaign 'winback'" in errors[0] and "did you mean 'winback_at_risk'" in errors[0]
    assert "compare_with '2026-02-31' is not a date" in errors[1] and "'31.10.2026' is not a date" in errors[2]


def _table(result: NotebookResult, index: int) -> dict:
    assert result.ipynb is not None
    content = json.loads(result.ipynb.read_text(encoding="utf-8"))
    found = []
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            stack = [output.get("data", {}).get("application/vnd.crm.block+json")]
            while stack:
                block = stack.pop(0)
                if block and block["kind"] == "group":
                    stack = [*block["data"]["blocks"], *stack]
                elif block and block["kind"] == "table":
                    found.append(block["data"])
    return found[index]
