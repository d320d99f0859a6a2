"""The packager: from TorchScript, eager weights with code or a ready `.mar` to the version's `.mar`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Literal

from gitops import yamls
from gitops.release import Runtime
from gitops.runtimes import MODEL_ROOT
from pipelines.archive import Member
from pipelines.packagers.base import Concern, Layout, Packed, PackRequest
from pipelines.packagers.signatures import SignatureFiles
from pipelines.packagers.torchserve import handlers
from pipelines.packagers.torchserve.contents import CONFIG, MODEL_FILE, REQUIREMENTS, Plan, is_code, plan
from pipelines.packagers.torchserve.handlers import Handler, Style
from pipelines.packagers.torchserve.manifest import MANIFEST, ModelPart, write
from pipelines.packagers.torchserve.mar import Entry, read_mar, write_mar
from pipelines.packagers.torchserve.ready import ReadyMar, bytes_entry, used_up
from registry.errors import InvalidInput
from registry.facts import Artifact, Format
from registry.names import VersionRef
from registry.store import Reader

_STORE = "model-store"
_CHECKPOINTS = (b"PK\3\4", b"\x80")
"""How what torch.save writes begins: a zip, or in its old form a pickle."""
_LOAD_SECONDS = 1200
"""How long a worker may load: as long as a pod may start. TorchServe's own 120 s are too few for a large model."""


class TorchServePackager:
    """PyTorch models, each as a `.mar` with the handler that serves it."""

    type: Literal["mar"] = "mar"
    runtime = Runtime.TORCHSERVE

    def pack(self, members: Iterable[Member], request: PackRequest, packed: Packed) -> Iterator[bytes]:
        """A `.mar` of the model, its handler, the files that go with it and the manifest, which is last.

        The members are taken for what the scan saw (`digests.all_verified`): their digests are the scan's.

        Raises:
            InvalidInput: nothing there makes a model of the weights, or a file is not what its name says.
            Refused: a ready `.mar` is hostile.
        """
        ready = request.scan.format is Format.MAR
        entries = ReadyMar(request).entries(members, packed) if ready else _entries(members, request, packed)
        return write_mar(entries, packed.files)

    def unpack(self, reader: Reader, artifact: Artifact, wanted: Collection[str] | None = None) -> Iterator[Member]:
        """The wanted files of the `.mar`, verified.

        Raises:
            Refused: the bytes are not what `artifact` says.
        """
        return read_mar(reader, artifact.files, wanted)

    def concern(self, path: str) -> Concern:
        """Python, settings, what is in `code/` and the manifest are code, all else is weights."""
        return Concern.CODE if is_code(path) else Concern.WEIGHTS

    def layout(self, ref: VersionRef, artifact: Artifact) -> Layout:  # noqa: ARG002  # any is laid out alike
        """An unpacked archive in the model store; inference on 8080, management on loopback only, metrics on 8082."""
        config = (
            "inference_address=http://0.0.0.0:8080\n"
            "management_address=http://127.0.0.1:8081\n"
            "metrics_address=http://0.0.0.0:8082\n"
            "metrics_mode=prometheus\n"
            f"model_store={MODEL_ROOT}/{_STORE}\n"
            f"load_models={ref.model}\n"
            "default_workers_per_model=1\n"
            f"default_startup_timeout={_LOAD_SECONDS}\n"
            "disable_token_authorization=true\n"
            "install_py_dep_per_model=false\n"
        )
        return Layout(folder=f"{_STORE}/{ref.model}", config={"config.properties": config.encode()})


def _entries(members: Iterable[Member], request: PackRequest, packed: Packed) -> Iterator[Entry]:
    """The files of the training output that come along, then Sluice's own and the manifest."""
    made, told = plan(request.scan, request.handler), SignatureFiles(request.scan.root)
    facts = {fact.path: fact for fact in request.scan.files}
    notes = _Notes(made.noted)
    for member in members:
        watched = notes.watch(told.watch(member))
        place = made.place(member.path)
        if place is None:
            if watched is not member:
                used_up(watched)
        elif (chunks := _unless_path_file(made, watched)) is not None:
            yield Entry(place, member.size, chunks, facts.get(member.path))
    yield from _additions(made, notes.seen, request)
    packed.signature = told.signature()


class _Notes:
    """Keeps the small files whose content matters, as they go by."""

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = paths
        self.seen: dict[str, bytes] = {}

    def watch(self, member: Member) -> Member:
        """The member as it came."""
        return member._replace(chunks=self._kept(member)) if member.path in self._paths else member

    def _kept(self, member: Member) -> Iterator[bytes]:
        data = b"".join(member.chunks)
        self.seen[member.path] = data
        if data:
            yield data


def _additions(made: Plan, seen: dict[str, bytes], request: PackRequest) -> Iterator[Entry]:
    if made.config:
        yamls.load(seen[made.config], made.config)
    chosen = handlers.choose((path, seen[path]) for path in made.candidates) if made.candidates else None
    model_file = _model_file(made, seen, chosen)
    if model_file and made.place(made.model_file) != MODEL_FILE:
        # TorchServe imports the model's class from the top of the folder alone
        yield bytes_entry(MODEL_FILE, seen[made.model_file])
    handler, extensions = made.own or handlers.SLUICE_HANDLER, None
    if chosen is not None:
        handler, extensions = _named(chosen)
        if request.scan.format is Format.EAGER and not chosen.makes_model:
            raise InvalidInput(f"{chosen.path} has no model_fn(model_dir), which makes a model of {made.root}: add it.")
    if handler in (handlers.SLUICE_HANDLER, handlers.SAGEMAKER_HANDLER):
        yield bytes_entry(handler, handlers.shipped(handler))
    manifest = ModelPart(
        handler=handler,
        serializedFile=made.root,
        modelFile=model_file or None,
        extensions=extensions,
        requirementsFile=REQUIREMENTS if made.requirements else None,
        configFile=CONFIG if made.config else None,
    )
    yield bytes_entry(MANIFEST, write(manifest, request.ref, request.created_at))


def _named(chosen: Handler) -> tuple[str, dict[str, str] | None]:
    """What the manifest calls a user's handler, and what it says beside.

    TorchServe puts a handler's folder on the import path only where a function is named, and looks for a class where
    the module has no such function (EnvironmentUtils.java and ts/model_loader.py).
    """
    if chosen.style is Style.SAGEMAKER:
        return handlers.SAGEMAKER_HANDLER, {"code": chosen.path}
    return (f"{chosen.path}:handle" if "/" in chosen.path else chosen.path), None


def _model_file(made: Plan, seen: dict[str, bytes], chosen: Handler | None) -> str:
    """The manifest's `modelFile`, for a handler that leaves the model to TorchServe's base class.

    Raises:
        InvalidInput: there is nobody else to make the model, and the file has not the one class that TorchServe takes.
    """
    if not made.model_file or (chosen is not None and chosen.style is Style.SAGEMAKER):
        return ""
    classes = handlers.outline(made.model_file, seen[made.model_file]).classes
    if len(classes) == 1:
        return MODEL_FILE
    if chosen is not None:
        return ""
    raise InvalidInput(
        f"{made.model_file} defines {len(classes)} classes, and the model's must be the only one: move the others to"
        " another file, or add code/inference.py with model_fn(model_dir)."
    )


def _unless_path_file(made: Plan, member: Member) -> Iterator[bytes] | None:
    """The bytes of a member, None for a `.pth` by which Python would add to its import path: no checkpoint.

    Python reads those in its site folders only (documentation of `site`), so this is for whoever makes the model's one.
    """
    if member.path == made.root or not member.path.lower().endswith(".pth"):
        return member.chunks
    first = next(member.chunks, b"")
    return chain((first,), member.chunks) if first.startswith(_CHECKPOINTS) else None
