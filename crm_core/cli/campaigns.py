"""`crm campaign plan|freeze|export|receipts|evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crm_core.cli.output import actor, local, note, open_workspace, say, table, working
from crm_core.errors import InputError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from crm_core.campaigns import Evaluation, Plan
    from crm_core.campaigns.funnel import Step
    from crm_core.campaigns.lift import Lift

app = typer.Typer(no_args_is_help=True, help="Plan a campaign, freeze its list, hand it over, and judge it.")
CAMPAIGN = typer.Argument(..., help="a file of conf/campaigns/, without .yml")
AS_OF = typer.Option("", "--as-of", help="YYYY-MM-DD; default: the last day that the data cover")
WAVE = typer.Option(1, "--wave", min=1, help="wave of the campaign")


@app.command()
def plan(campaign: str = CAMPAIGN, as_of: str = AS_OF) -> None:
    """Size, control, cost and the smallest lift that could be detected; changes nothing."""
    from crm_core import campaigns

    workspace = open_workspace(as_of)
    with working("planning"):
        planned = campaigns.plan(workspace.tables, workspace.config, workspace.lake, workspace.vault, campaign)
    say(_facts(planned), _plan_lines(planned, str(workspace.as_of), workspace.config.project.currency))


@app.command()
def freeze(campaign: str = CAMPAIGN, as_of: str = AS_OF, wave: int = WAVE) -> None:
    """Fix the list of a wave with its held-out control; the same call gives the same list back."""
    from crm_core import campaigns

    workspace = open_workspace(as_of)
    with working("freezing"):
        frozen = campaigns.freeze(
            workspace.tables, workspace.config, workspace.lake, workspace.ledger, workspace.vault, campaign,
            wave=wave, actor=actor(),
        )  # fmt: skip
    state = "frozen now" if frozen.new else "was frozen before"
    head = f"{campaign} wave {wave} as of {frozen.as_of}, {state}: audience {frozen.audience_id}"
    say(_facts(frozen), [head, *_funnel_lines(frozen.funnel), *_count_lines(frozen.counts)])


@app.command()
def export(
    campaign: str = CAMPAIGN,
    platform: str = typer.Option("", "--platform", help="a file of conf/platforms/; default: the campaign's"),
    at: str = typer.Option("", "--at", help="hand-off time, e.g. 2026-11-02T10:00; default: the day after, at send_at"),
    audience: str = typer.Option("", "--audience", help="audience_id; default: the newest list of the campaign"),
    renew: bool = typer.Option(False, "--renew", help="a new export that lists the difference to the last"),
    only_unsent: bool = typer.Option(False, "--only-unsent", help="leave out whom receipts say it was sent to"),
) -> None:
    """Write what the platform takes, with manifest, hold-out and rejected members apart."""
    from crm_core import campaigns

    workspace = open_workspace()
    with working("exporting"):
        handed = campaigns.export(
            workspace.config, workspace.lake, workspace.ledger, workspace.vault, workspace.exports_dir, campaign,
            audience_id=audience, platform=platform, at=_time(at), renew=renew, only_unsent=only_unsent, actor=actor(),
        )  # fmt: skip
    state = "written now" if handed.new else "was written before; the same bytes"
    zone = workspace.config.project.zone
    lines = [
        f"export {handed.export_id} of audience {handed.audience_id}, {state}",
        *_count_lines(handed.counts, workspace.config.project.currency),
        f"to be handed over at {local(handed.hand_off_at, zone)} ({zone})",
        f"for the platform: {handed.folder / 'payload'}",
    ]
    if handed.sent_before:
        note(
            f"to {handed.sent_before} of these members the message was sent already, as receipts say: they would get it twice; "
            "for the others alone, use --only-unsent"
        )
    say(_facts(handed), lines)


@app.command()
def receipts(
    campaign: str = CAMPAIGN,
    path: Path = typer.Argument(..., help="the platform's receipts file"),
    export_id: str = typer.Option("", "--export", help="which hand-off; default: the campaign's newest"),
) -> None:
    """Take in what the platform says: delivered, failed, replies, refusals."""
    from crm_core import campaigns
    from crm_core.campaigns.records import exports_of_campaign

    workspace = open_workspace()
    if not export_id:
        handed = exports_of_campaign(workspace.ledger, campaign)
        if not handed:
            raise InputError(f"no list of campaign '{campaign}' was handed over; run: crm campaign export {campaign}")
        export_id = handed[-1].export_id
    with working("reading receipts"):
        taken = campaigns.receipts(
            path,
            export_id,
            workspace.config,
            workspace.lake,
            workspace.ledger,
            workspace.vault,
            workspace.exports_dir,
            actor=actor(),
        )
    refused = sum(taken.rejected.values())
    if refused:
        seen = f"; see them with: crm rejects {taken.load_id}" if taken.load_id else ""
        note(f"{refused:,} of {taken.read:,} rows could not be taken ({_shown(taken.rejected)}){seen}")
    lines = [
        f"read {taken.read:,} = accepted {taken.accepted:,} + duplicate {taken.duplicate:,} + rejected {refused:,}",
        f"rejected: {_shown(taken.rejected)}",
        f"new events: {_shown(taken.events)}",
        f"new refusals of messages: {taken.refusals:,}, and these contacts are suppressed from now on",
        f"load {taken.load_id}, of export {export_id}" if taken.load_id else "no load: the file brought nothing new",
    ]
    say(_facts(taken), lines)


@app.command()
def evaluate(campaign: str = CAMPAIGN, as_of: str = AS_OF, wave: int = WAVE) -> None:
    """Did it work? Lift against the held-out control, with interval and a plain reading."""
    from crm_core import campaigns
    from crm_core.campaigns.pinned import settings_of

    workspace = open_workspace(as_of)
    settings = settings_of(workspace.ledger, workspace.config, campaign, wave)
    with working("evaluating"):
        found = campaigns.evaluate(workspace.tables, campaign, settings, wave=wave, ledger=workspace.ledger)
    say(found.to_dict(), _verdict_lines(found, workspace.config.project.zone, workspace.config.project.currency))


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"'{text}' is not a time; write it like 2026-11-02T10:00") from None


def _facts(found: Any) -> dict[str, Any]:
    facts = asdict(found) if is_dataclass(found) and not isinstance(found, type) else dict(found)
    return {str(name): value for name, value in facts.items()}


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _funnel_lines(funnel: Sequence[Step]) -> list[str]:
    return table([{"rule": step.rule, "members in": step.members_in, "members out": step.members_out} for step in funnel])


def _count_lines(counts: Mapping[str, Any], currency: str = "") -> list[str]:
    """What became of those selected, with reasons, arms and cost."""
    sent = ("exported", counts["exported"]) if "exported" in counts else ("to send", counts["eligible"] - counts["held_out"])
    rejected, arms = counts["rejected"], counts["arms"]
    lines = [
        f"selected {counts['selected']:,} = {sent[0]} {sent[1]:,} + held out {counts['held_out']:,} "
        f"+ rejected {sum(rejected.values()):,}",
        f"rejected: {_shown(rejected)}",
        f"members by arm: {_shown(arms)}",
    ]
    if counts.get("cost") is not None:
        lines.append(f"cost {_amount(counts['cost'], currency)} for {counts['parts']:,} billed message parts")
    return lines


def _plan_lines(plan: Plan, day: str, currency: str) -> list[str]:
    cost = "not known: neither unit_cost nor budget is set" if plan.cost is None else f"{plan.cost:,.2f} {currency}"
    mean = "not known" if plan.expected_mean is None else _figure(plan.expected_mean, plan.metric, currency)
    smallest = [
        f"smallest lift that could be seen, {arm}: {_figure(value, plan.metric, currency, points=True)}"
        + ("" if (share := plan.detectable_relative[arm]) is None else f" ({share:.0%} of that mean)")
        for arm, value in plan.detectable.items()
        if value is not None
    ]
    nothing = "not known, the time before shows no variance" if plan.persons else "none, nobody may be written to"
    return [
        f"{plan.campaign} as of {day}: {plan.members:,} members in the segment, {plan.eligible:,} may be written to "
        f"({plan.persons:,} persons)",
        *_funnel_lines(plan.funnel),
        f"persons by arm: {_shown(plan.arms)}",
        f"cost of the messages: {cost}",
        f"judged by {plan.metric} over {plan.window_days} days; mean of those who were in the segment {plan.window_days} days "
        f"earlier: {mean}",
        *(smallest or [f"smallest lift that could be seen: {nothing}"]),
    ]


def _verdict_lines(found: Evaluation, zone: ZoneInfo, currency: str) -> list[str]:
    window, ratio = found.window, found.sample_ratio
    over = f"; preliminary, the data end at {local(window.until, zone)}" if window.preliminary else ""
    drawn = {"as_planned": "as planned", "mismatch": "NOT as planned", "unknown": "the plan is not known"}
    p = "" if ratio.p is None else f" (p {_p(ratio.p)})"
    rows = [
        {
            "arm": each.arm, "metric": each.metric + (" *" if each.primary else ""), "persons": each.persons,
            "mean": _figure(each.chosen.treatment_mean, each.metric, currency), "control": each.control_persons,
            "its mean": _figure(each.chosen.control_mean, each.metric, currency),
            "lift": _figure(each.chosen.lift, each.metric, currency, points=True),
            "95 % interval": _interval(each.chosen, each.metric, currency),
            "p": _p(each.chosen.p), "reading": each.reading.replace("_", " "),
        }
        for each in found.results
    ]  # fmt: skip
    money = [
        f"{arm}: cost {_amount(one.cost, currency)}, extra amount paid {_amount(one.incremental_amount, currency)}, "
        f"extra profit {_amount(one.incremental_profit, currency)}"
        + ("" if one.roi is None else f", return on investment {one.roi:,.0%}{_range(one.roi_low, one.roi_high)}")
        for arm, one in found.money.items()
    ]
    return [
        f"{found.campaign} wave {found.wave}: {local(window.starts_at, zone)} … {local(window.ends_at, zone)} ({zone}){over}",
        f"persons by arm: {_shown(ratio.counts)}: {drawn[ratio.verdict]}{p}",
        *table(rows),
        "* the metric that was chosen beforehand; means and lifts are per person",
        *money,
        *(f"note: {note}" for note in found.notes[int(window.preliminary) :]),  # the first line has said the first
    ]


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:,.0%} … {high:,.0%})"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _interval(lift: Lift, metric: str, currency: str) -> str:
    if lift.low is None or lift.high is None:
        return ""
    return " … ".join(_figure(bound, metric, currency, points=True) for bound in (lift.low, lift.high))


def _figure(value: float, metric: str, currency: str, *, points: bool = False) -> str:
    """A mean, or with `points` a difference of means, in the metric's unit."""
    sign = "+" if points else ""
    if metric == "ordered":
        return f"{value * 100:{sign}.2f} {'pp' if points else '%'}"
    return _amount(value, currency, sign) if metric == "net_amount" else f"{value:{sign}.4f}"


def _amount(value: float | None, currency: str, sign: str = "") -> str:
    return "not known" if value is None else f"{value:{sign},.2f} {currency}"
