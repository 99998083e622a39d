"""The rows of a hand-off: who is written to, at which number, with which text – and who is left out now, and
why.

Contact numbers enter here and nowhere else. A row whose text would run as a formula in a spreadsheet is
refused, never repaired; a number that belongs to somebody held out is not written to at all, as that would
spoil the control.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from crm_core.campaigns.funnel import Rule, consenting, with_reasons, withdrawn
from crm_core.campaigns.sms import sms_parts
from crm_core.config.campaigns import MEMBER_PLACEHOLDERS, PLACEHOLDER, TRIGGERS, CampaignSettings
from crm_core.config.platforms import PlatformSettings
from crm_core.errors import InputError

if TYPE_CHECKING:
    from crm_core.store import Tables, Vault

LONGEST = 500
NOT_ACTIVE = ("frozen", "closed")
MOST_TEXTS = 50_000


def suppressed_hashes(vault: Vault, kind: str, until: datetime) -> ir.Table:
    """HMACs of refused contacts of `kind` that were added before `until` (naive UTC); one column,
    value_hmac.
    """
    listed = vault.suppressions()
    return listed.filter((listed.kind == kind) & (listed.added_at < until)).select("value_hmac").distinct()


def contacts_of(vault: Vault, kind: str) -> ir.Table:
    """member_id, contact, contact_hash (the HMAC that suppressions and identities use) of every member with
    one.
    """
    known = vault.contacts(kind).rename(contact="value")
    return vault.keyed(known, {"contact_hash": (kind, "contact")})


def accounts_of(vault: Vault, members: ir.Table) -> ir.Table:
    """member_id, contact (the account id in the shop's own system), contact_hash (the member_id) of `members`.

    Where a source's ids are plain numbers the member_id is the account id.
    """
    accounts = vault.accounts()
    known = accounts.group_by("member_id").agg(account=accounts.account_id.min())
    joined = members.select("member_id").left_join(known, "member_id")
    return joined.select("member_id", contact=joined.account.coalesce(joined.member_id), contact_hash="member_id")


def texts(members: ir.Table, settings: CampaignSettings) -> ir.Table:
    """`members` (arm and the placeholders' columns) with `message`; null where a placeholder has no value for
    the member.
    """
    branches = [(members.arm == arm, _filled(members, settings.text_of(arm))) for arm in settings.arms]
    return members.mutate(message=ibis.cases(*branches, else_=ibis.null("string")))


def _filled(members: ir.Table, text: str) -> ir.Value:
    # split rather than replaced one by one: a city called '{tier}' stays what it is
    pieces = PLACEHOLDER.split(text)
    value: ir.Value = ibis.literal(pieces[0])
    for at in range(1, len(pieces), 2):
        value = value + members[pieces[at]].cast("string") + ibis.literal(pieces[at + 1])
    return value


def used_placeholders(settings: CampaignSettings) -> list[str]:
    """Placeholders of members that any arm's text uses."""
    found = {name for arm in settings.arms for name in PLACEHOLDER.findall(settings.text_of(arm))}
    return [name for name in MEMBER_PLACEHOLDERS if name in found]


def hand_off_rows(
    stored: ir.Table,
    pinned: Tables,
    newest: Tables,
    vault: Vault,
    settings: CampaignSettings,
    platform: PlatformSettings,
    moment: datetime,
    hand_off_at: datetime,
) -> ir.Table:
    """The members that the frozen list selected, each with contact, text and, where left out now, `reason`.

    `stored` are the rows of the list. Placeholders and the proof of consent come from `pinned`, the data that
    the list was made from; consents withdrawn since, in any account of the person or contact, and memberships that ended from
    `newest`; refusals as known at `moment`; a consent must last until `hand_off_at` (naive UTC), and until `moment` where that
    is later. A channel without a contact of its own gets the account id.

    Columns: member_id, person_id, arm, stratum, contact (in the platform's form), contact_hash, message, the used
    placeholders, consent_changed_at, reason.
    """
    kind = settings.contact_kind
    chosen = stored.filter(stored.status == "selected").select("member_id", "person_id", "arm", "stratum")
    contacts = contacts_of(vault, kind) if kind else accounts_of(vault, stored)
    chosen = chosen.left_join(contacts, "member_id").drop("member_id_right")
    chosen = texts(_with_placeholders(chosen, pinned, settings), settings)
    chosen = chosen.mutate(contact=platform_form(chosen.contact, kind, platform))
    held = stored.filter(stored.status == "held_out").select("member_id").join(contacts, "member_id").contact_hash
    rules = _rules(chosen, held, suppressed_hashes(vault, kind, moment))
    if (erased := vault.erased_members(chosen)) is not None:
        rules.insert(0, Rule("erased", "removes", erased))
    rules.append(Rule("not_active", "removes", newest.members.filter(newest.members.status.isin(NOT_ACTIVE))))
    if settings.exclusions.consent:
        rules.insert(1, Rule("no_consent", "keeps", consenting(newest.consents, settings.channel, max(moment, hand_off_at))))
        persons = newest.members.select("member_id", owner="person_id")
        owners = persons.union(contacts.select("member_id", owner="contact_hash"))
        rules.insert(2, Rule("withdrawn", "removes", withdrawn(newest.consents, owners, settings.channel)))
    return _without_doubles(_with_consent(with_reasons(chosen, rules), pinned, settings.channel))


def _with_placeholders(chosen: ir.Table, tables: Tables, settings: CampaignSettings) -> ir.Table:
    names = used_placeholders(settings)
    if not names:
        return chosen
    members = tables.members.select("member_id", *names)
    return chosen.left_join(members, "member_id").drop("member_id_right")


def _with_consent(rows: ir.Table, tables: Tables, channel: str) -> ir.Table:
    consents = tables.consents.filter(tables.consents.channel == channel)
    newest = consents.group_by("member_id").aggregate(consent_changed_at=consents.changed_at.max())
    return rows.left_join(newest, "member_id").drop("member_id_right")


def _rules(chosen: ir.Table, held: ir.Column, hashes: ir.Table) -> list[Rule]:
    message = chosen.message
    refused = chosen.semi_join(hashes, chosen.contact_hash == hashes.value_hmac)
    unsafe = ibis.or_(
        *[message.startswith(sign) for sign in TRIGGERS],
        *[message.contains(sign) for sign in ("\t", "\r", "\n")],
        # an account id is somebody's own text; a phone may begin with +
        *[chosen.contact.startswith(sign) for sign in TRIGGERS if sign != "+"],
    )
    failing = {
        "no_contact": chosen.contact_hash.isnull(),
        "country_not_taken": chosen.contact.isnull(),
        "contact_of_held_out": chosen.contact_hash.isin(held),
        "missing_value": message.isnull(),
        "unsafe_text": unsafe,
        "too_long": message.length() > LONGEST,
    }
    return [
        Rule("suppressed", "removes", refused.select("member_id")),
        *[Rule(name, "removes", chosen.filter(broken).select("member_id")) for name, broken in failing.items()],
    ]


def _without_doubles(rows: ir.Table) -> ir.Table:
    # platforms refuse or bill twice a number that stands in a file twice; the smallest member_id keeps it
    place = ibis.row_number().over(group_by=[rows.contact_hash, rows.reason.isnull()], order_by=rows.member_id)
    double = rows.reason.isnull() & (place > 0)
    return rows.mutate(reason=double.ifelse(ibis.literal("same_contact"), rows.reason))


def platform_form(contact: ir.StringValue, kind: str, platform: PlatformSettings) -> ir.StringValue:
    """The contact as the platform writes it; null where it takes no such country. Phones come in E.164
    ('+86138…').
    """
    if kind != "phone":
        return contact
    forms: list[tuple[ir.BooleanValue, ir.Value]] = []
    for code in platform.countries or ("",):
        prefix = f"+{code}"
        cut = {"e164": 0, "digits": 1, "national": len(prefix)}[platform.phone_format]
        forms.append((contact.startswith(prefix), contact[cut:]))
    return ibis.cases(*forms, else_=ibis.null("string"))


def with_parts(rows: ir.Table, settings: CampaignSettings, country: str) -> ir.Table:
    """`rows` with `parts` billed (SMS; 1 elsewhere), counted once per distinct text. Raises InputError on too
    many texts.
    """
    if settings.channel != "sms":
        return rows.mutate(parts=ibis.literal(1, "int64"))
    found = rows.filter(rows.message.notnull()).select("message").distinct().limit(MOST_TEXTS + 1).to_pyarrow()
    if found.num_rows > MOST_TEXTS:
        raise InputError(f"the template gives more than {MOST_TEXTS} different texts; use placeholders with fewer values")
    known = found["message"].to_pylist()
    counted = pa.table({"_text": pa.array(known, pa.string()), "parts": [sms_parts(text, country).parts for text in known]})
    priced = ibis.memtable(counted.cast(pa.schema([("_text", pa.string()), ("parts", pa.int64())])))
    return rows.left_join(priced, rows.message == priced._text).drop("_text")


def payload_columns(rows: ir.Table, platform: PlatformSettings, hand_off_at: datetime, zone: ZoneInfo, export_id: str) -> ir.Table:
    """Exactly the platform's columns, under its headings, as text, in the order of member_id."""
    local = hand_off_at.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone)
    values: dict[str, Any] = {
        "contact": rows.contact,
        "message": rows.message,
        "send_at": ibis.literal(local.strftime(platform.send_at_format)),
        # the platform's echo of this row; says nothing about the member to anybody else
        "reference": (ibis.literal(f"{export_id}/") + rows.member_id).hexdigest("sha256")[:20],
    }
    ordered = rows.order_by(rows.member_id)
    return ordered.select(**{column.heading: values[column.name] for column in platform.columns})
