"""Whether the steps of an ensemble belong together: models that are there, and tensors that come from somewhere.

Triton documentation, "Ensemble Models"; the rules are those that Triton checks when it loads one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.packagers.triton.checks import check_tensors, versions_of
from pipelines.packagers.triton.config import CONFIG, WILDCARD
from registry.errors import InvalidInput


class _Kind(NamedTuple):
    """What one model says of a tensor."""

    data_type: int
    dims: tuple[int, ...]
    batched: bool


def check_ensemble(model: str, configs: Mapping[str, Any], files: Mapping[str, Collection[str]]) -> None:
    """Make sure that the ensemble `model` can run; `configs` has the configs and `files` the files of all models.

    Raises:
        InvalidInput: it cannot.
    """
    config = configs[model]
    check_tensors(config, model, needed=True)
    if not config.ensemble_scheduling.step:
        raise InvalidInput(f"{model}/{CONFIG} is an ensemble without steps: add ensemble_scheduling with its steps.")
    kinds = {
        tensor.name: _kind(tensor, config, tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
        for tensor in (*config.input, *config.output)
    }
    for step in config.ensemble_scheduling.step:
        name, path = step.model_name, f"{model}/{CONFIG}"
        if name not in files:
            raise InvalidInput(f"{path} has a step {name[:80]!r}, and there is no such model: add its folder.")
        if step.model_version > 0 and step.model_version not in versions_of(files[name]):
            raise InvalidInput(f"{path} wants version {step.model_version} of {name}, which is missing: use -1.")
        if not step.input_map or not step.output_map:
            raise InvalidInput(f"{path} has a step {name} without input_map or output_map: map its tensors.")
        if configs.get(name) is not None:
            _check_step(step, configs[name], config, kinds, path)
    _check_flow(config, f"{model}/{CONFIG}")


def check_circles(configs: Mapping[str, Any]) -> None:
    """Make sure that no ensemble is, through others, a step of itself.

    Raises:
        InvalidInput: one is.
    """
    left = {name: set(steps_of(config)) for name, config in configs.items()}
    while done := [name for name, steps in left.items() if not steps & left.keys()]:
        for name in done:
            del left[name]
    if left:
        raise InvalidInput(f"The ensembles {', '.join(sorted(left))[:200]} are steps of each other: undo the circle.")


def steps_of(config: Any) -> Collection[str]:
    """The models that an ensemble's config names; none where there is no config or it is no ensemble's."""
    return () if config is None else [step.model_name for step in config.ensemble_scheduling.step]


def _check_step(step: Any, config: Any, ensemble: Any, kinds: dict[str, _Kind], path: str) -> None:
    name = step.model_name
    if 0 < config.max_batch_size < ensemble.max_batch_size:
        raise InvalidInput(
            f"{path} allows batches of {ensemble.max_batch_size}, and its step {name} only of {config.max_batch_size}:"
            " lower the ensemble's max_batch_size."
        )
    for side, mapped, tensors in (
        ("input", step.input_map, config.input),
        ("output", step.output_map, config.output),
    ):
        names = {tensor.name for tensor in tensors}
        if not names:
            continue  # Triton completes this config from the model
        unknown = next((tensor for tensor in sorted(mapped) if tensor not in names), None)
        if unknown is not None:
            raise InvalidInput(f"{path} maps the {side} {unknown[:80]!r} of {name}, which has none such: correct it.")
        needed = {tensor.name for tensor in tensors if side == "input" and not tensor.optional}
        missing = min(needed - set(mapped), default=None)
        if missing is not None:
            raise InvalidInput(f"{path} does not map the input {missing[:80]!r} of {name}: add it to input_map.")
        _check_kinds(mapped, config, side, kinds, path)


def _check_kinds(mapped: Mapping[str, str], config: Any, side: str, kinds: dict[str, _Kind], path: str) -> None:
    """Compare the tensors of a step with what is known of the ensemble's by `kinds`, and add to that."""
    for tensor in getattr(config, side):
        target = mapped.get(tensor.name, "")
        if target:
            mine = _kind(tensor, config, tensor.dims)
            known = kinds.setdefault(target, mine)
            if known.data_type != mine.data_type or not _alike(known, mine):
                raise InvalidInput(
                    f"{path} has {target[:80]!r} with another data_type or other dims than {tensor.name[:80]!r} of its"
                    " step: correct one."
                )


def _kind(tensor: Any, config: Any, dims: Sequence[int]) -> _Kind:
    return _Kind(tensor.data_type, tuple(dims), config.max_batch_size > 0)


def _alike(one: _Kind, other: _Kind) -> bool:
    """Whether two shapes may be one, with the batch or, where one of the models knows no batch, without."""
    whole = [(WILDCARD, *kind.dims) if kind.batched else kind.dims for kind in (one, other)]
    pairs = [(one.dims, other.dims), (whole[0], whole[1])]
    return any(
        len(left) == len(right) and all(WILDCARD in (a, b) or a == b for a, b in zip(left, right, strict=True))
        for left, right in pairs
    )


def _check_flow(config: Any, path: str) -> None:
    """Let data flow from the inputs, step by step, and see that it gets everywhere."""
    known = {tensor.name for tensor in config.input}
    waiting = list(config.ensemble_scheduling.step)
    while ready := [step for step in waiting if set(step.input_map.values()) <= known]:
        for step in ready:
            made = list(step.output_map.values())
            again = next((tensor for tensor in made if tensor in known or made.count(tensor) > 1), None)
            if again is not None:
                raise InvalidInput(f"{path} makes the tensor {again[:80]!r} twice: give one of the two another name.")
            known.update(made)
        waiting = [step for step in waiting if step not in ready]
    lost = [tensor for step in waiting for tensor in step.input_map.values() if tensor not in known]
    lost += [tensor.name for tensor in config.output if tensor.name not in known]
    if lost:
        raise InvalidInput(
            f"{path} needs the tensor {min(lost)[:80]!r}, which no step makes in time: correct its maps."
        )
