"""Members, consents and campaign lists as exported: logs of changes, each row whole, with its time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, NEVER, NONE, Ints
from crm_core.simulate.blocks import Block
from crm_core.simulate.campaigns import STRATA
from crm_core.simulate.columns import dates, numbers, overwrite, picked, text, times
from crm_core.simulate.consents import CHANNELS, SOURCES
from crm_core.simulate.dirt import NULL, lay_out, soil
from crm_core.simulate.files import Sheet
from crm_core.simulate.members import MASKED, MISSING, Members
from crm_core.simulate.raw_trade import CITY_NAMES, PROVINCES
from crm_core.simulate.world import World

DOMAINS = ("example.com", "example.cn", "mail.example.com")
TEXT_VERSIONS = ("V1.0", "V2.0")
VALID_FOR = 730 * DAY


def member_sheet(world: World, block: Block) -> Sheet:
    """会员资料: one row per member and change; the newest row of a member is what holds."""
    people, log = block.people, block.log
    rng = world.rng("dirt of members", block.number)
    dirt = soil(rng, len(log.row), repeated=0.003)
    tokens = rng.random(len(people)) < 0.2
    rows = lay_out(log.at < world.cut, dirt.repeated)
    who = log.row[rows]
    campaign = [each.campaign_id for each in world.campaigns]
    referrer = np.where(people.referrer[who] == NONE, NONE, people.card[people.referrer[who]])
    brought = picked(campaign, people.campaign[who] - 1)
    return Sheet(
        "members",
        {
            "会员卡号": numbers(people.card[who]),
            "姓名": picked(pa.array(words.FULL_NAMES), people.name[who]),
            "手机号": phones(people).take(pa.array(who)),
            "邮箱": emails(people).take(pa.array(who)),
            "性别": picked(list(words.GENDERS), people.gender[who]),
            "生日": dates(people.birthday[who], people.birthday[who] == NEVER),
            "注册时间": times(people.registered_at[who], NEVER),
            "注册渠道": picked(list(words.CHANNELS), people.channel[who]),
            "来源活动": overwrite(brought, tokens[who] & (people.campaign[who] == 0), NULL),
            "推荐人卡号": numbers(referrer),
            "职业": picked(words.OCCUPATIONS, people.occupation[who]),
            "兴趣": interests(people).take(pa.array(who)),
            "国家": picked(("中国",), np.zeros(len(who), dtype=np.int64)),
            "省份": picked(PROVINCES, log.city[rows]),
            "城市": picked(CITY_NAMES, log.city[rows]),
            "会员等级": picked(words.TIERS, log.tier[rows]),
            "会员状态": picked(list(words.STATUSES), log.status[rows]),
            "更新时间": times(log.at[rows], world.cut),
        },
        None,
        len(rows) - int((log.at < world.cut).sum()),
        0,
    )


def phones(people: Members) -> pa.Array:
    """Mobiles as text; some were masked by the shop's system, some are missing."""
    plain = text(numbers(people.phone, people.phone_state == MISSING))
    hidden = people.phone_state == MASKED
    veiled = [f"{phone[:3]}****{phone[7:]}" for phone in plain.filter(pa.array(hidden)).to_pylist()]
    return pc.replace_with_mask(plain, pa.array(hidden), pa.array(veiled, pa.string()))


def emails(people: Members) -> pa.Array:
    """Addresses at domains that are reserved for examples."""
    number = text(numbers(people.card, people.email_state == MISSING))
    return pc.binary_join_element_wise("u", number, "@", picked(DOMAINS, people.card % len(DOMAINS)), "")


def interests(people: Members) -> pa.Array:
    """One or two interests, separated by a semicolon."""
    first, second = people.interest
    one = picked(words.INTERESTS, first)
    both = pc.binary_join_element_wise(one, picked(words.INTERESTS, second), ";")
    return pc.if_else(pa.array((first != second) & (people.card % 3 == 0)), both, one)


def consent_sheet(world: World, block: Block) -> Sheet:
    """授权记录: one row per change of a consent."""
    people, log = block.people, block.consents
    dirt = soil(world.rng("dirt of consents", block.number), len(log.row))
    visible = log.at < world.cut
    rows = lay_out(visible, dirt.repeated)
    at, granted = log.at[rows], log.state[rows] == 0
    newer = (at >= world.clock.start).astype(np.int64)
    by_law: Ints = np.where(granted, 0, NONE)
    return Sheet(
        "consents",
        {
            "会员卡号": numbers(people.card[log.row[rows]]),
            "渠道": picked([list(words.CHANNELS)[words.CHANNEL_CODES[name]] for name in CHANNELS], log.channel[rows]),
            "授权状态": picked(list(words.CONSENTS), log.state[rows]),
            "授权依据": picked(("个人同意",), by_law),
            "授权来源": picked(SOURCES, log.source[rows]),
            "协议版本": picked(TEXT_VERSIONS, newer),
            "变更时间": times(at, world.cut),
            "失效时间": times(np.where(granted & (at >= world.clock.start), at + 5 * VALID_FOR, NEVER), NEVER),
        },
        None,
        len(rows) - int(visible.sum()),
        0,
    )


def audience_sheets(world: World, block: Block) -> list[Sheet]:
    """营销名单: who was written to and who was held out, once a past campaign has drawn its arms."""
    sheets = []
    for found in block.assignments:
        campaign = found.campaign
        if campaign.assigned_at >= world.cut:
            continue
        size = len(found.row)
        sheets.append(
            Sheet(
                "audiences",
                {
                    "名单编号": picked((f"{campaign.campaign_id}-1",), np.zeros(size, dtype=np.int64)),
                    "营销活动": picked((campaign.campaign_id,), np.zeros(size, dtype=np.int64)),
                    "会员卡号": numbers(block.people.card[found.row]),
                    "组别": picked(("对照组", "实验组"), found.treated.astype(np.int64)),
                    "分层": picked(STRATA[campaign.number], found.stratum),
                    "分组时间": times(np.full(size, campaign.assigned_at), NEVER),
                },
                None,
                0,
                0,
            )
        )
    return sheets
