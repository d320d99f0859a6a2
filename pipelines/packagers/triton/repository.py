"""A model repository as it is put together: its files go by one after the other, and at the end it must be whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.archive import Member
from pipelines.packagers.triton.checks import ENSEMBLE, backend_of, check_model, versions_of
from pipelines.packagers.triton.config import CONFIG, CONFIG_MAX, config_of, read_config, tensors_of, write_config
from pipelines.packagers.triton.ensembles import check_circles, check_ensemble, steps_of
from pipelines.packagers.triton.onnx import OnnxFile, OnnxModel, check_config, check_external
from pipelines.packagers.triton.requests import given_sample, made_sample
from pipelines.packagers.triton.torchscript import torchscript_config
from pipelines.packagers.values import check_names
from registry.errors import InvalidInput
from registry.facts import Signature, Tensor

_PLACEHOLDER = "1/ensemble.txt"
_PLACEHOLDER_TEXT = b"An ensemble has no files of its own, but Triton wants the folder of a version.\n"


_ONNX_MAX = 64
"""ONNX files in one repository, of each of which something is kept."""


class Repository:
    """The models of one repository, of which `served` is the one that is asked."""

    def __init__(self, served: str) -> None:
        self._served = served
        self._files: dict[str, set[str]] = {}
        self._configs: dict[str, Any] = {}
        self._onnx: dict[tuple[str, str], OnnxFile] = {}
        self._config_bytes = 0

    def watch(self, member: Member) -> Member:
        """The member, whose path is the one in the repository, as it goes into that; what matters in it is noted.

        Raises:
            InvalidInput: it is a config that Triton does not understand.
        """
        model, _, path = member.path.partition("/")
        self._files.setdefault(model, set()).add(path)
        if path == CONFIG:
            return self._configured(member, model)
        if not (path.endswith(".onnx") and versions_of([path])):
            return member
        if len(self._onnx) == _ONNX_MAX:
            raise InvalidInput(f"The model repository holds more than {_ONNX_MAX} ONNX files: pack fewer.")
        file = self._onnx[model, path] = OnnxFile(member.path)
        return member._replace(chunks=file.watch(member.chunks))

    def rest(self, given: Signature | None) -> Iterator[Member]:
        """What the repository still lacks, once all other members have gone by; `given` came with the model.

        Raises:
            InvalidInput: Triton could not load one of the models.
            Refused: its TensorFlow backend would have been needed.
        """
        for model in sorted(self._files.keys() - self._configs.keys()):
            made = self._made_config(model, given)
            if made is not None:
                self._configs[model] = made
                yield _member(f"{model}/{CONFIG}", write_config(made))
        check_circles(self._configs)
        for model in sorted(self._files):
            yield from self._checked(model)
        user = next((name for name, config in self._configs.items() if self._served in steps_of(config)), None)
        if user is not None:
            raise InvalidInput(
                f"{self._served} is a step of the ensemble {user}, which is the one to be served: call the ensemble's"
                f" folder {self._served}, and the step something else."
            )

    def signature(self, given: Signature | None) -> Signature:
        """What the served model takes and gives, once `rest` has been used up.

        Raises:
            InvalidInput: what came with the model, `given`, is about another one.
        """
        config, path = self._configs.get(self._served), f"{self._served}/{CONFIG}"
        inputs, outputs = self._tensors(config, path)
        told_by = CONFIG
        if given is not None and not inputs and not outputs:
            inputs, outputs, told_by = given.inputs, given.outputs, given.told_by
        elif given is not None and self._backend(self._served) != "pytorch":  # where names are by position
            check_names(given, inputs, outputs, path)
        sample = made_sample(config, inputs)
        if given is not None and given.sample is not None:
            sample = given_sample(given.sample, inputs)
            told_by = told_by if told_by == given.told_by else f"{told_by} and {given.told_by}"
        return Signature(inputs=inputs, outputs=outputs, sample=sample, told_by=told_by)

    def _tensors(self, config: Any, path: str) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """What the served model's config says, and what its ONNX file does where the config leaves that to it."""
        inputs, outputs = tensors_of(config, path) if config is not None else ((), ())
        if self._backend(self._served) != "onnxruntime" or (inputs and outputs):
            return inputs, outputs
        onnx = self._newest_onnx(self._served)
        return (inputs or onnx.inputs, outputs or onnx.outputs) if onnx else (inputs, outputs)

    def _backend(self, model: str) -> str:
        return backend_of(self._configs.get(model), self._files[model], model)

    def _configured(self, member: Member, model: str) -> Member:
        self._config_bytes += member.size
        if self._config_bytes > CONFIG_MAX:
            raise InvalidInput(f"The configs of the model repository have more than {CONFIG_MAX} bytes: shorten them.")
        data = b"".join(member.chunks)
        config = self._configs[model] = read_config(data, member.path)
        if config.name and config.name != model:
            if model != self._served:
                raise InvalidInput(
                    f"{member.path} names the model {config.name[:80]!r}, and its folder is {model}: Triton wants the"
                    " two alike."
                )
            config.ClearField("name")  # Triton takes the folder's
            data = write_config(config)
        return _member(member.path, data)

    def _made_config(self, model: str, given: Signature | None) -> Any:
        """A config for a model without one, by what its file says of itself; None where Triton asks the model."""
        backend = self._backend(model)
        onnx = self._newest_onnx(model) if backend == "onnxruntime" else None
        if onnx is not None:
            return config_of(backend, onnx.inputs, onnx.outputs, batched=onnx.batched)
        return torchscript_config(given) if backend == "pytorch" and model == self._served else None

    def _newest_onnx(self, model: str) -> OnnxModel | None:
        """What the ONNX file of a model's newest version says; None where it has none of the usual name."""
        versions = versions_of(self._files[model])
        file = self._onnx.get((model, f"{max(versions, default=0)}/model.onnx"))
        return file.model() if file is not None else None

    def _checked(self, model: str) -> Iterator[Member]:
        config, files = self._configs.get(model), self._files[model]
        backend = self._backend(model)
        if backend == ENSEMBLE:
            check_ensemble(model, self._configs, self._files)
            if not versions_of(files):
                yield _member(f"{model}/{_PLACEHOLDER}", _PLACEHOLDER_TEXT)
            return
        check_model(config, backend, files, model)
        onnx = self._newest_onnx(model) if backend == "onnxruntime" else None
        if onnx is not None and config is not None:
            check_config(config, onnx, f"{model}/{CONFIG}")
        for (owner, path), file in self._onnx.items():
            if owner == model and backend == "onnxruntime":
                folder = path.partition("/")[0] + "/"
                beside = {inside.removeprefix(folder) for inside in files if inside.startswith(folder)}
                check_external(file.model(), beside, f"{model}/{path}")


def _member(path: str, data: bytes) -> Member:
    return Member(path, len(data), iter((data,)))
