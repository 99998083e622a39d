"""conf/campaigns/NAME.yml: one campaign as a person writes it – whom, what, through which channel, with which
control, judged by which metric. Everything that changes a list or a verdict stands here, so that a pinned
text rebuilds both.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from crm_core.config.loader import Settings

Metric = Literal["net_amount", "orders", "ordered"]
Channel = Literal["sms", "email", "wechat", "wecom", "app"]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Share = Annotated[float, Field(gt=0, lt=1)]

CONTROL = "control"
MEMBER_PLACEHOLDERS = ("tier", "province", "city")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n")
REFUSAL_ROUTES = ("拒收", "退订", "STOP", "UNSUBSCRIBE")
CHANNEL_CONTACT = {"sms": "phone", "email": "email"}


class Title(Settings):
    """A name in the reader's language."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)


class ExclusionSettings(Settings):
    """Which members of the segment are left out, rule by rule in this order."""

    consent: bool = Field(True, description="the newest consent for the channel is granted and has not expired")
    contact: bool = Field(True, description="a contact of the channel's kind is known")
    suppressed: bool = Field(True, description="the contact is not on the suppression list")
    live_campaigns: bool = Field(False, description="not in the window of another campaign")
    contact_cap: int = Field(0, ge=0, description="most messages of the channel within contact_cap_days; 0 = no cap")
    contact_cap_days: int = Field(7, ge=1, le=366)


class CampaignSettings(Settings):
    """One campaign. Shares of control and arms add up to exactly 1."""

    title: Title
    objective: str = Field(min_length=1, description="what the campaign is for, in words")
    segment: str = Field(min_length=1, description="'scheme:segment', or an expression over features")
    channel: Channel = "sms"
    platform: str = "canonical"
    control: Share = Field(0.1, description="share that is held out")
    arms: dict[Slug, Share] = Field(default_factory=lambda: {"message": 0.9}, min_length=1)
    strata: tuple[str, ...] = Field((), max_length=4, description="features within which the shares are kept")
    metric: Metric = "net_amount"
    window_days: int = Field(14, ge=1, le=366)
    adjust: Literal["pre_period", "none"] = Field("pre_period", description="which interval the reading is taken from")
    template: str = Field(min_length=1, max_length=500)
    arm_templates: dict[str, str] = Field(default_factory=dict, description="texts of arms that differ from `template`")
    parameters: dict[Slug, str] = Field(default_factory=dict, description="placeholders with one value for everybody")
    send_at: str = Field("10:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="local time of the hand-off")
    exclusions: ExclusionSettings = ExclusionSettings()
    budget: float | None = Field(None, ge=0, description="fixed cost in the project's currency")
    unit_cost: float | None = Field(None, ge=0, description="cost of one billed message part")
    margin: float = Field(1.0, gt=0, le=1, description="share of net_amount that is profit; 1 judges revenue")
    salt: str = Field("", description="replaces the campaign's own salt of the draw")
    purpose: str = Field("marketing message to consenting members", min_length=1)

    @field_validator("arms")
    @classmethod
    def _arms_are_not_control(cls, value: dict[str, float]) -> dict[str, float]:
        if CONTROL in value:
            raise ValueError("'control' is no arm; give its share under 'control'")
        return value

    @field_validator("template", "arm_templates", "parameters")
    @classmethod
    def _no_live_text(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for text in [value] if isinstance(value, str) else value.values():
            if text.startswith(TRIGGERS) or any(sign in text for sign in "\t\r\n"):
                raise ValueError("starts with = + - @ or holds a tab or line break, which a spreadsheet may execute")
        return value

    @model_validator(mode="after")
    def _shares_add_up(self) -> CampaignSettings:
        total = sum(self.shares.values())
        if total != 1:
            raise ValueError(f"the shares of control and arms add up to {float(total):g}; make them add up to 1")
        return self

    @model_validator(mode="after")
    def _texts_are_known(self) -> CampaignSettings:
        for arm in self.arm_templates:
            if arm not in self.arms:
                raise ValueError(f"arm_templates names '{arm}', which is no arm; known: {', '.join(self.arms)}")
        allowed = {*self.parameters, *MEMBER_PLACEHOLDERS}
        for text in (self.template, *self.arm_templates.values()):
            for name in PLACEHOLDER.findall(text):
                if name not in allowed:
                    raise ValueError(f"placeholder '{{{name}}}' is not allowed; known: {', '.join(sorted(allowed))}")
            if "{" in PLACEHOLDER.sub("", text) or "}" in PLACEHOLDER.sub("", text):
                raise ValueError("a brace without its partner in a template")
        return self

    @model_validator(mode="after")
    def _sms_can_be_refused(self) -> CampaignSettings:
        for arm in self.arms if self.channel == "sms" else ():
            if not any(word in self.text_of(arm).upper() for word in REFUSAL_ROUTES):
                raise ValueError(f"the text of arm '{arm}' does not say how to refuse; end it like 拒收请回复R")
        return self

    @property
    def shares(self) -> dict[str, Fraction]:
        """Planned share of control and of every arm, exact; control first."""
        # through the written digits: 0.1 in a file means one tenth, not the nearest binary fraction
        return {CONTROL: Fraction(str(self.control))} | {arm: Fraction(str(share)) for arm, share in self.arms.items()}

    def text_of(self, arm: str) -> str:
        """The message of `arm`, the campaign's constants already filled in."""
        text = self.arm_templates.get(arm, self.template)
        for name, value in self.parameters.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    @property
    def contact_kind(self) -> str:
        """Kind of contact that the channel needs ('phone', 'email'), '' when it needs none."""
        return CHANNEL_CONTACT.get(self.channel, "")
