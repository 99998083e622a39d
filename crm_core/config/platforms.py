"""conf/platforms/NAME.yml: what a message platform takes and gives back, so that a new platform is a file and
no code.

Only columns of a closed list can leave; everything else about a member stays in the lake.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from crm_core.config.campaigns import TRIGGERS, Title
from crm_core.config.loader import Settings

PayloadName = Literal["contact", "message", "send_at", "reference"]
ReceiptEvent = Literal["sent", "delivered", "failed", "replied", "unsubscribed"]
Text = Annotated[str, Field(min_length=1)]


class PayloadColumn(Settings):
    """One column of the payload: what it holds and the heading that the platform expects."""

    name: PayloadName
    heading: Text

    @field_validator("heading")
    @classmethod
    def _heading_is_plain(cls, value: str) -> str:
        if value.startswith(TRIGGERS) or any(sign in value for sign in '",\t\r\n'):
            raise ValueError("a heading may not start with = + - @ nor hold a quote, comma, tab or line break")
        return value


class ReceiptSettings(Settings):
    """How the platform's receipts file is read."""

    contact: Text = "phone"
    status: Text = "status"
    time: Text = "time"
    time_format: Text = "%Y-%m-%d %H:%M:%S"
    time_zone: str = Field("", description="IANA zone of the times; empty = the project's")
    encoding: Text = "utf-8-sig"
    reply: str = Field("", description="heading of the reply text; empty = none in the file")
    statuses: dict[str, ReceiptEvent] = Field(min_length=1, description="the platform's word -> our event")
    refusals: tuple[str, ...] = Field(
        ("TD", "T", "N", "R", "退订", "STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"),
        description="replies that refuse further messages: the word alone, or 退订 with one of the others or 回复 before it",
    )


class PlatformSettings(Settings):
    """One platform: columns, headings and form of the payload, and how its receipts read."""

    title: Title
    channel: Literal["sms", "email", "member_list"] = Field(
        "sms", description="member_list: account ids, for channels that need no phone or e-mail (till, app, website)"
    )
    columns: tuple[PayloadColumn, ...] = Field(min_length=1)
    encoding: str = "utf-8"
    line_end: Literal["lf", "crlf"] = "lf"
    max_rows: int = Field(50_000, ge=1, description="most rows of one part")
    phone_format: Literal["e164", "national", "digits"] = "national"
    countries: tuple[str, ...] = Field((), description="calling codes taken, e.g. ['86']; empty = every one")
    send_at_format: Text = "%Y-%m-%d %H:%M:%S"
    receipts: ReceiptSettings = ReceiptSettings(statuses={"sent": "sent"})

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, value: str) -> str:
        try:
            return codecs.lookup(value).name
        except LookupError:
            raise ValueError("is no encoding; write one like 'utf-8', 'utf-8-sig', 'gb18030'") from None

    @model_validator(mode="after")
    def _columns_are_whole(self) -> PlatformSettings:
        names = [column.name for column in self.columns]
        headings = [column.heading for column in self.columns]
        if len(set(names)) < len(names) or len(set(headings)) < len(headings):
            raise ValueError("a column or heading is named twice")
        if "contact" not in names:
            raise ValueError("no column 'contact'; a platform needs somewhere to send to")
        return self
