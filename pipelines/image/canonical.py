"""JSON of one shape only, so that what is the same has the same digest. Imports the standard library alone."""

from __future__ import annotations

import json


def canonical(value: object) -> bytes:
    """`value` as JSON in UTF-8, with sorted keys and no spaces.

    Raises:
        ValueError: it holds a number that JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
