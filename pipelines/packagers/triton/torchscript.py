"""The config of a TorchScript file, which has its inputs and outputs by position and does not tell their types.

Triton documentation, "Model Configuration", sections "Special Conventions for PyTorch Backend" and "Datatypes".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pipelines.packagers.triton.config import CONFIG, batched, config_of
from registry.errors import InvalidInput
from registry.facts import DType, Signature, Tensor

_UNKNOWN = (DType.UINT16, DType.UINT32, DType.UINT64, DType.BFLOAT16)
"""Types that Triton's PyTorch backend does not carry."""


def torchscript_config(given: Signature | None) -> Any:
    """A config with the inputs and outputs that a file beside the model tells of, in their order.

    Raises:
        InvalidInput: none does, or Triton carries no such tensors.
    """
    if given is None or not given.inputs or not given.outputs:
        raise InvalidInput(
            "A TorchScript file does not tell what it takes and gives, and Triton needs to know: put a signature.json"
            ' with inputs and outputs, as in {"inputs": [{"name": "x", "dtype": "float32", "shape": [null, 4]}], …}, or'
            f" a {CONFIG} beside it in the training output."
        )
    odd = next((tensor for tensor in (*given.inputs, *given.outputs) if tensor.dtype in _UNKNOWN), None)
    if odd is not None:
        raise InvalidInput(
            f"{given.told_by} has {odd.name} as {odd.dtype.value}, which Triton does not carry to PyTorch: use another"
            " type and cast it in the model."
        )
    inputs, outputs = _by_position(given.inputs, "INPUT"), _by_position(given.outputs, "OUTPUT")
    return config_of("pytorch", inputs, outputs, batched=batched(inputs, outputs))


def _by_position(tensors: Sequence[Tensor], name: str) -> tuple[Tensor, ...]:
    """The tensors under names that end in their position, their own ones where they do already."""
    if all(re.fullmatch(rf".+__{at}", tensor.name) for at, tensor in enumerate(tensors)):
        return tuple(tensors)
    return tuple(tensor.model_copy(update={"name": f"{name}__{at}"}) for at, tensor in enumerate(tensors))
