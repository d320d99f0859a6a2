"""How far verifying an image goes."""

from __future__ import annotations

from enum import StrEnum


class Layers(StrEnum):
    """How layers are looked at."""

    PRESENT = "present"
    """Whether they are there."""
    READ = "read"
    """Whether their bytes are the ones that their digests name."""
