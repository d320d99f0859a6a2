"""What a zip in a training output is: TorchScript, a checkpoint, a `.mar`, a Keras model, or something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipelines.paths import safe_path
from pipelines.scanning.findings import FINDINGS_MAX, Budget, Findings
from pipelines.scanning.host import Host, NoHost
from pipelines.scanning.inlet import CutShort
from pipelines.scanning.inspector import Inspector, Piece
from pipelines.scanning.zips import Bomb, ZipWalk
from registry.errors import Refused
from registry.facts import Severity

AMBIGUOUS = "zip-ambiguous"
_MANIFEST = "MAR-INF/MANIFEST.json"


class Contents(NamedTuple):
    """What is in a zip, by the names of its files."""

    torchscript: bool
    """TorchScript keeps the model's code under `<name>/code/` and its constants in `<name>/constants.pkl`; torch.save
    writes neither (PyTorch, "TorchScript serialization", torch/csrc/jit/docs/serialization.md)."""
    checkpoint: bool
    """`<name>/data.pkl`, as torch.save writes it."""
    mar: bool
    keras: bool
    arrays: bool
    """Numpy's `.npz`: nothing but `.npy` files."""

    @property
    def known(self) -> bool:
        """Whether it is anything that has to do with models."""
        return any(self)


class ZipInspector:
    """Looks into a zip and, by `open_entry`, into what is in it; at the end it tells `use` what that is.

    It is the host of what is in it: a TorchScript archive's classes and code are its own business.
    """

    def __init__(
        self,
        path: str,
        findings: Findings,
        budget: Budget,
        open_entry: Callable[[str, Host], Inspector],
        use: Callable[[Contents], None],
    ) -> None:
        self._path, self._findings, self._open, self._use = path, findings, open_entry, use
        self._outside = NoHost(findings)
        self._walk = ZipWalk(budget, self._entry, self._unread, self._link)
        self._tops = dict[str, set[str]]()
        self._arrays, self._others = False, False
        self._scripts, self._code = list[tuple[str, str]](), list[tuple[str, str]]()
        self._opens = list[tuple[str, str]]()
        self._harmless = ""

    def feed(self, piece: Piece) -> None:
        """Look at it."""
        self._walk.feed(piece)

    def close(self) -> None:
        """Say what it is, and what is wrong with it."""
        self._walk.close()
        problem, contents = self._walk.problem, self._contents()
        if problem is not None:
            rule = "zip-bomb" if isinstance(problem, Bomb) else AMBIGUOUS
            contents = Contents(*[False] * len(contents))
            self._findings.add(self._path, rule, Severity.DANGER, f"the zip cannot be trusted: {_why(problem)}")
        elif not contents.known:
            what = "an archive inside the archive, which no model server reads"
            self._findings.add(self._path, "nested-archive", Severity.WARNING, what)
        self._report_scripts(contents)
        for path, sha256 in self._code:
            if not (contents.torchscript and _inside(path).startswith("code/")):
                self._outside.code(path, sha256)
        if contents.torchscript:
            self._report_files()
        if self._harmless and not contents.torchscript:
            self._outside.harmless(self._harmless)
        self._use(contents)

    def script(self, path: str, name: str) -> None:
        """Whether that is right is known at the end."""
        if len(self._scripts) < FINDINGS_MAX:
            self._scripts.append((path, name))

    def harmless(self, path: str) -> None:
        """Libtorch's unpickler, which reads TorchScript, runs nothing anyway."""
        self._harmless = self._harmless or path

    def code(self, path: str, sha256: str) -> None:
        """TorchScript's own code is none that Python runs."""
        if len(self._code) < FINDINGS_MAX:
            self._code.append((path, sha256))

    def opens(self, path: str, names: str) -> None:
        """TorchScript's interpreter does so, whoever serves the model."""
        if len(self._opens) < FINDINGS_MAX:
            self._opens.append((path, names))

    def _entry(self, name: str) -> Inspector:
        path = f"{self._path}!{name}"
        try:
            safe_path(name)
        except Refused:
            what = "a path in the zip that leaves the folder it is unpacked in, or that no file should have"
            self._findings.add(path, "zip-path", Severity.DANGER, what)
        top, _, rest = name.partition("/")
        if name == _MANIFEST or rest in ("constants.pkl", "data.pkl") or not rest:
            self._note(top, rest)
        elif rest.startswith("code/"):
            self._note(top, "code/")
        self._arrays = self._arrays or name.endswith(".npy")
        self._others = self._others or not name.endswith(".npy")
        return self._open(path, self)

    def _note(self, top: str, rest: str) -> None:
        if len(self._tops) < FINDINGS_MAX:
            self._tops.setdefault(top, set()).add(rest)

    def _contents(self) -> Contents:
        tops = self._tops
        return Contents(
            torchscript=any({"constants.pkl", "code/"} <= inside for inside in tops.values()),
            checkpoint=any("data.pkl" in inside for inside in tops.values()),
            mar="MANIFEST.json" in tops.get("MAR-INF", ()),
            keras=self._path.endswith(".keras") and "config.json" in tops,
            arrays=self._arrays and not self._others,
        )

    def _report_scripts(self, contents: Contents) -> None:
        for path, name in self._scripts:
            if not contents.torchscript or _inside(path) not in ("data.pkl", "constants.pkl"):
                self._outside.script(path, name)

    def _report_files(self) -> None:
        for path, names in self._opens:
            if _inside(path).startswith("code/"):
                what = f"the model's code calls {names}, which opens whatever file it names"
                self._findings.add(path, "torchscript-file", Severity.WARNING, what)

    def _unread(self, name: str, why: str) -> None:
        self._findings.add(f"{self._path}!{name}", "unscanned", Severity.DANGER, f"nothing looked into it: it is {why}")

    def _link(self, name: str) -> None:
        self._findings.add(f"{self._path}!{name}", "zip-link", Severity.DANGER, "a symbolic link in a zip")


def _why(problem: Exception) -> str:
    if isinstance(problem, CutShort):
        return "it ends too early"
    return str(problem) or "it takes too long to look through"


def _inside(path: str) -> str:
    """A file's place in a torch archive, below the folder that all files of it are in."""
    return path.rpartition("!")[2].partition("/")[2]
