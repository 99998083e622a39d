"""conf/identity.yml: which members are one person – by exact keys, and by likeness where that is asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crm_core.config.loader import Settings

KeyKind = Literal["phone", "email", "union_id", "platform_account", "member_card"]
Kind = Literal[
    "name", "given_name", "family_name", "birth_date", "phone", "email", "address", "city", "postcode"
]  # fmt: skip
Shared = Annotated[int, Field(ge=2)]
Fields = Annotated[tuple[Kind, ...], Field(min_length=1)]
KEYS: dict[KeyKind, int] = {"union_id": 10, "member_card": 3, "phone": 5, "platform_account": 3, "email": 3}
COMPARE: Fields = (
    "name", "given_name", "family_name", "birth_date", "phone", "email", "address", "city", "postcode",
)  # fmt: skip
BLOCK: tuple[Fields, ...] = (
    ("birth_date",),
    ("phone",),
    ("email",),
    ("name", "city"),
    ("given_name", "family_name"),
    ("family_name", "postcode"),
    ("given_name", "postcode"),
    ("family_name", "city"),
    ("given_name", "city"),
    ("address",),
)
CERTAIN: tuple[Fields, ...] = (("name", "birth_date"), ("given_name", "family_name", "birth_date"), ("email", "birth_date"))


class LikenessSettings(Settings):
    """Linking members who share no key: weights learnt by `crm identity train`, applied by every load and refresh."""

    enabled: bool = False
    match_probability: float = Field(0.95, ge=0.5, lt=1, description="pairs at least this probable are one person")
    compare: Fields = Field(COMPARE, description="kinds of contact that are compared, where members have them")
    block: tuple[Fields, ...] = Field(BLOCK, min_length=1, description="only pairs that agree in one of these are looked at")
    certain: tuple[Fields, ...] = Field(
        CERTAIN, description="pairs that agree in one of these are surely one person; training takes the prior from them"
    )
    most_per_block: int = Field(500, ge=2, description="a block of more members is passed over: it would cost its square")


class IdentitySettings(Settings):
    """Who is one person. A kind of key that is left out links nobody."""

    keys: dict[KeyKind, Shared] = Field(
        KEYS, description="kind of key, strongest first → most members that one value may link; more: it links nobody"
    )
    largest_person: int = Field(
        20, ge=2, description="most members of one person; beyond it the weakest kinds of key are held back, one by one"
    )
    probabilistic: LikenessSettings = LikenessSettings()
