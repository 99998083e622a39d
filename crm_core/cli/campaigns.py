"""`crm campaign plan|freeze|export|receipts|evaluate`."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from crm_core.cli.output import actor, open_workspace, say, table, working
from crm_core.errors import InputError

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
        found = _facts(campaigns.plan(workspace.tables, workspace.config, workspace.lake, workspace.vault, campaign))
    say(found, [f"{name}: {_shown(value)}" for name, value in found.items()])


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
    facts = _facts(frozen)
    say(facts, [f"{name}: {_shown(value)}" for name, value in facts.items()])


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
    facts = _facts(handed)
    say(facts, [f"{name}: {_shown(value)}" for name, value in facts.items()])


@app.command()
def receipts(
    campaign: str = CAMPAIGN,
    path: Path = typer.Argument(..., help="the platform's receipts file"),  # noqa: B008
    export_id: str = typer.Option("", "--export", help="which hand-off; default: the campaign's newest"),
) -> None:
    """Take in what the platform says: delivered, failed, replies, refusals."""
    from crm_core import campaigns
    from crm_core.campaigns.records import audience_of, exports_of

    workspace = open_workspace()
    if not export_id:
        handed = exports_of(workspace.ledger, audience_of(workspace.ledger, campaign).audience_id)
        if not handed:
            raise InputError(f"no list of campaign '{campaign}' was handed over; run: crm campaign export {campaign}")
        export_id = handed[0].export_id
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
    found = _facts(taken)
    say(found, [f"{name}: {_shown(value)}" for name, value in found.items()])


@app.command()
def evaluate(campaign: str = CAMPAIGN, as_of: str = AS_OF, wave: int = WAVE) -> None:
    """Did it work? Lift against the held-out control, with interval and a plain reading."""
    from crm_core import campaigns

    workspace = open_workspace(as_of)
    settings = workspace.config.campaign(campaign) if campaign in workspace.config.campaign_names() else None
    with working("evaluating"):
        found = campaigns.evaluate(workspace.tables, campaign, settings, wave=wave, ledger=workspace.ledger)
    rows = [dict(row) for row in found.table().to_dict("records")]
    facts = found.to_dict()
    window = facts["window"]
    over = " (preliminary: the window is not over)" if window["preliminary"] else ""
    head = [f"{campaign} wave {wave}: {window['starts_at']} … {window['ends_at']} UTC{over}", str(found.sample_ratio)]
    say(facts, [*head, *table(rows)])


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


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
