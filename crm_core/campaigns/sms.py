"""How many parts an SMS is billed as. Mainland networks count characters; elsewhere GSM-7 septets or UCS-2
units count.

Sources: 3GPP TS 23.038 (alphabets), TS 23.040 (concatenation: 153 septets, 67 units); for the mainland the
operators' own rule, 70 characters in one part and 67 in each of several, signature and refusal text included.
"""

from __future__ import annotations

from typing import NamedTuple

GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_ESCAPED = frozenset("|^€{}[]~\\\f")


class SmsParts(NamedTuple):
    """Parts billed, length in the encoding's units, and the encoding ('gsm7', 'ucs2')."""

    parts: int
    characters: int
    encoding: str


def sms_parts(text: str, country: str = "CN") -> SmsParts:
    """Parts that `text` is billed as in `country` (two letters). An empty text has none.

    No part ends within an escape sequence or a surrogate pair, which may cost a part more than the length
    alone says.
    """
    if country.upper() == "CN":
        # the mainland sends everything as UCS-2, also plain ASCII
        return _parts([_units(sign) for sign in text], 70, 67, "ucs2")
    if all(sign in GSM7 or sign in GSM7_ESCAPED for sign in text):
        return _parts([2 if sign in GSM7_ESCAPED else 1 for sign in text], 160, 153, "gsm7")
    return _parts([_units(sign) for sign in text], 70, 67, "ucs2")


def _units(sign: str) -> int:
    return 2 if ord(sign) > 0xFFFF else 1


def _parts(widths: list[int], single: int, each: int, encoding: str) -> SmsParts:
    length = sum(widths)
    if length <= single:
        return SmsParts(1 if length else 0, length, encoding)
    parts, room = 1, each
    for width in widths:
        if width > room:
            parts, room = parts + 1, each
        room -= width
    return SmsParts(parts, length, encoding)
