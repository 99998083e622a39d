"""Headings of a file matched to the fields of a feed: after NFKC and trimming, the preferred spelling first.

Spreadsheets and shop systems differ in blanks and full-width signs (several Tmall headings end in a blank).
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from crm_core.config.sources import FeedSettings, SourceSettings
from crm_core.errors import InputError

PERSONAL = re.compile(
    r"姓名|名字|昵称|会员名|收货人|联系人|地址|电话|手机|邮箱|身份证|微信|账号|帐号|phone|mobile|mail|address|nick|"
    r"会员(卡|号|编号|id)|买家(会员|账|帐|旺旺|编号|id)|客户(号|编号|id)|openid|unionid|"
    r"(member|customer|buyer|user)[ _-]?(id|no|number|card|code)|"
    r"(customer|first|last|full|given|family|billing|shipping|receiver|recipient|contact|user|member|buyer)[ _-]?name$",
    re.I,
)
"""Headings below which people, or their accounts, are named."""
CONTACT_LIKE = r"\d{6}|\S@\S"
VALUE_LIKE = r"\d{6}|\*{4}|\S@\S|\d{1,4}[-/]\d{1,2}[-/]\d"


@dataclass(frozen=True)
class Headings:
    """Where each field stands in the file (`positions`, from 0), which optional ones it lacks, what nobody
    asked for.
    """

    positions: dict[str, int]
    shown: dict[str, str]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def personal(self) -> set[str]:
        """The fields whose headings say that people are named there."""
        return {field for field, heading in self.shown.items() if PERSONAL.search(heading)}


def plain(heading: str) -> str:
    """A heading as it is compared: NFKC (full-width letters, brackets and digits are one with narrow
    ones), trimmed.
    """
    return " ".join(unicodedata.normalize("NFKC", heading.replace("\ufeff", "")).split())


def match(feed: FeedSettings, headings: Sequence[str]) -> Headings:
    """The fields of `feed` among `headings`; `problems` says which required ones are missing or stand
    there twice.
    """
    places: dict[str, list[int]] = {}
    for position, heading in enumerate(headings):
        places.setdefault(plain(heading), []).append(position)
    places.pop("", None)
    numbered = {f"{name}#{n}": [at] for name, all_at in places.items() if len(all_at) > 1 for n, at in enumerate(all_at, 1)}
    places = {**numbered, **places}
    positions: dict[str, int] = {}
    missing: list[str] = []
    problems: list[str] = []
    for name, field in feed.fields.items():
        known = next((spelling for spelling in map(plain, field.headings) if spelling in places), None)
        if known is None:
            missing.append(field.heading)
            if field.required or field.filled:
                problems.append(_missing(field.headings, places))
        elif len(places[known]) > 1:
            columns = " and ".join(str(place + 1) for place in places[known])
            problems.append(
                f"heading '{known}' stands there {len(places[known])} times (columns {columns}); "
                f"keep one, or say which one the source means: heading: {known}#2"
            )
        else:
            positions[name] = places[known][0]
    used = set(positions.values())
    unknown = tuple(heading.strip() for place, heading in enumerate(headings) if place not in used and heading.strip())
    shown = {name: headings[place].strip() for name, place in positions.items()}
    return Headings(positions, shown, tuple(missing), unknown, tuple(dict.fromkeys(problems)))


def _values(headings: Sequence[str]) -> bool:
    """Whether the first row holds what no heading is: a long number, an e-mail address, a date. Then its cells are a member's."""
    return any(re.search(VALUE_LIKE, unicodedata.normalize("NFKC", heading)) for heading in headings)


def shortened(heading: str) -> str:
    """A heading as it is shown: at most 60 characters."""
    shown = heading.strip()
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def veiled(heading: str) -> str:
    """A heading as it may be kept: keys of JSON may be phones or e-mail addresses."""
    return "***" if re.search(CONTACT_LIKE, unicodedata.normalize("NFKC", heading)) else heading


def _listed(headings: Sequence[str], known: bool) -> str:
    """`known`: one of them at least is a heading of the source; else they may be what a member's row says."""
    if _values(headings) or (any(map(plain, headings)) and not known):
        kind = "values" if _values(headings) else "no heading of this source"
        return (
            f"not shown, because the first row holds {kind} (is it a member's row, whose headings reader.headings must give, or "
            "a title above the headings, which reader.skip_lines passes over?)"
        )
    return ", ".join(shortened(heading) for heading in headings[:40]) or "none"


def _missing(spellings: Sequence[str], places: dict[str, list[int]]) -> str:
    known = [] if _values(list(places)) else list(places)
    near = difflib.get_close_matches(plain(spellings[0]), known, n=1, cutoff=0.5)
    hint = f", the nearest found is '{shortened(near[0])}'" if near else ""
    also = f" (or {', '.join(spellings[1:])})" if len(spellings) > 1 else ""
    return f"heading '{spellings[0]}'{also} is missing{hint}"


def choose(settings: SourceSettings, feeds: Sequence[str], headings: Sequence[str], file: str) -> tuple[str, Headings]:
    """The feed of a file: the one of `feeds` (all, where that is empty) whose required headings are there,
    with most fields.

    InputError names what is missing for the feed that comes nearest, and the headings found.
    """
    matched = {name: match(settings.feeds[name], headings) for name in feeds or settings.feeds}
    ranked = sorted(matched.items(), key=lambda item: (len(item[1].problems), -len(item[1].positions)))
    name, best = ranked[0]
    if best.problems or not best.positions:
        listed = _listed(headings, any(each.positions for each in matched.values()))
        trouble = "; ".join(best.problems) or f"none of its headings belongs to feed '{name}'"
        raise InputError(
            f"{file} does not fit feed '{name}' of source '{settings.source}': {trouble}. "
            f"Headings found: {listed}. Mend the file, or add the spelling as an alias in "
            f"conf/sources/{settings.source}.yml"
        )
    rivals = [other for other, fit in ranked[1:] if not fit.problems and len(fit.positions) == len(best.positions)]
    if rivals:
        raise InputError(
            f"{file} fits several feeds of source '{settings.source}': {', '.join(sorted([name, *rivals]))}; "
            "give it a name that only one feed's `match` takes"
        )
    return name, best
