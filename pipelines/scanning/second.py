"""What picklescan says of a pickle."""

from __future__ import annotations

import logging
from io import BytesIO

from pipelines.scanning.opcodes import Pickles

_OPCODES_MAX = 200_000
"""picklescan keeps every opcode, some 150 bytes each; of a longer pickle it is shown the globals alone."""


def dangerous(data: bytes, pickles: Pickles) -> tuple[str, ...]:
    """The globals that picklescan calls dangerous, as `module.name`, among those in `data`, which `pickles` has read.

    What it calls suspicious is what it does not know; the list of what may be called answers for that.
    """
    from picklescan.scanner import SafetyLevel, scan_pickle_bytes  # type: ignore[import-untyped]  # it has no types

    logging.getLogger("picklescan").setLevel(logging.CRITICAL + 1)  # it prints names that an attacker chose
    shown = data[: pickles.position] if pickles.opcodes <= _OPCODES_MAX else _globals_alone(pickles)
    try:
        result = scan_pickle_bytes(BytesIO(shown), "")
    except Exception as error:  # noqa: BLE001  # whatever it raises, a pickle that breaks it is not to be trusted
        return (f"what made picklescan fail ({type(error).__name__})",)
    return tuple(
        sorted(f"{item.module}.{item.name}" for item in result.globals if item.safety is SafetyLevel.Dangerous)
    )


def _globals_alone(pickles: Pickles) -> bytes:
    lines = "".join(f"c{module}\n{name}\n0" for module, name in pickles.names)
    return lines.encode() + b"N."
