"""Lengths from 3GPP TS 23.038/23.040 and the mainland operators' rule."""

from __future__ import annotations

import pytest

from crm_core.campaigns.sms import sms_parts


@pytest.mark.parametrize(
    ("text", "country", "expected"),
    [
        ("", "CN", (0, 0, "ucs2")),
        ("好" * 70, "CN", (1, 70, "ucs2")),
        ("好" * 71, "CN", (2, 71, "ucs2")),
        ("好" * 134, "CN", (2, 134, "ucs2")),
        ("好" * 135, "CN", (3, 135, "ucs2")),
        ("a" * 71, "CN", (2, 71, "ucs2")),
        ("a" * 160, "US", (1, 160, "gsm7")),
        ("a" * 161, "US", (2, 161, "gsm7")),
        ("€" * 80, "DE", (1, 160, "gsm7")),
        ("a" * 152 + "€" + "a" * 7, "DE", (2, 161, "gsm7")),
        ("a" * 152 + "€" + "a" * 152, "DE", (3, 306, "gsm7")),
        ("é" * 160, "FR", (1, 160, "gsm7")),
        ("ê" * 71, "FR", (2, 71, "ucs2")),
        ("好" * 66 + "😀" + "好" * 3, "US", (2, 71, "ucs2")),
        ("好" * 66 + "😀" + "好" * 66, "US", (3, 134, "ucs2")),
    ],
)
def test_parts_billed(text: str, country: str, expected: tuple[int, int, str]) -> None:
    assert sms_parts(text, country) == expected
