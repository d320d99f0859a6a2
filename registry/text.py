"""Text from outside, made safe to show."""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, and what turns the direction of writing (Unicode 15, bidirectional formatting characters)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """`text` without what could steer a terminal; tabs become blanks, and lines stay lines."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\t", " "))
