"""Pickles, harmless and not. None of them is ever loaded: the bad ones are put together by hand from opcodes."""

from __future__ import annotations

import io
import logging
import pickle
import struct
import tracemalloc
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.archive import read_archive
from pipelines.scanning import Scanner
from pipelines.scanning.findings import Budget, Exhausted
from pipelines.scanning.opcodes import Pickles, Unreadable
from registry.facts import Severity

Look = Callable[..., Scanner]
MIB = 1 << 20
ALICE = b"\x80\x02}X\x01\x00\x00\x00aK\x01s."
"""{"a": 1}"""


def calls(module: str, name: str) -> bytes:
    """A pickle that calls `module.name("x")`."""
    return f"\x80\x02c{module}\n{name}\n".encode("latin-1") + b"X\x01\0\0\0x\x85R."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def rules(scanner: Scanner) -> set[tuple[str, str]]:
    return {(finding.rule, finding.severity.value) for finding in scanner.findings()}


HARMLESS = {
    **{f"protocol {n}": pickle.dumps(OrderedDict(a=[1, 2.5, None], b=("x", b"y", {3})), n) for n in range(6)},
    "a counter": pickle.dumps(Counter("abc"), 2),
    "two pickles": ALICE + ALICE,
    "a dtype": b"\x80\x02ctorch\nfloat32\n.",
    "a legacy torch file": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + ALICE * 4 + bytes(1000),
    "a legacy torch file of protocol 4": pickle.dumps(0x1950A86A20F9469CFC6C, 4) + ALICE * 4 + b"\xff" * 1000,
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS.keys())
@pytest.mark.parametrize("step", [1, MIB])
def test_a_harmless_pickle_is_noted_and_no_more(data: bytes, step: int, look: Look) -> None:
    assert rules(look({"a.pkl": data}, step)) == {("pickle", "note")}


def test_harmless_pickles_are_noted_once(look: Look) -> None:
    assert len(look({"a.pkl": ALICE, "b.pt": ALICE, "c.joblib": ALICE}).findings()) == 1


def test_the_examples_have_nothing_to_find(examples: Path) -> None:
    scanner = Scanner()
    for job in sorted(examples.glob("*/jobs/*/model.tar.gz")):
        for member in read_archive([job.read_bytes()]):
            for _ in scanner.watch(member.path, member.chunks):
                pass
    assert scanner.findings() == ()


CALLED = [
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("__builtin__", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("pip", "main"),
    ("pip._internal", "main"),
    ("ctypes", "CDLL"),
    ("timeit", "timeit"),
    ("cProfile", "run"),
    ("profile", "run"),
    ("runpy", "run_path"),
    ("torch.storage", "_load_from_bytes"),
    ("torch", "load"),
    ("torch.serialization", "load"),
    ("torch.hub", "load"),
    ("numpy", "load"),
    ("joblib", "load"),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("pickle", "loads"),
    ("_pickle", "loads"),
    ("functools", "partial"),
    ("operator", "attrgetter"),
    ("importlib", "import_module"),
    ("pkgutil", "resolve_name"),
    ("cloudpickle.cloudpickle", "_make_function"),
    ("webbrowser", "open"),
    ("shutil", "rmtree"),
    ("__main__", "Net"),
    ("somebodys.module", "nobody_knows"),
    ("torch", "FloatStorage.from_file"),
    ("collections", "OrderedDict.fromkeys"),
    ("collections.abc", "OrderedDict"),
]


@pytest.mark.parametrize(("module", "name"), CALLED, ids=[".".join(pair) for pair in CALLED])
@pytest.mark.parametrize("path", ["a.pkl", "a.pt", "pytorch_model.bin", "notes.txt", "weights"])
def test_what_weights_do_not_need_is_dangerous(module: str, name: str, path: str, look: Look) -> None:
    found = look({path: calls(module, name)}).findings()
    assert {finding.severity for finding in found} == {Severity.DANGER}
    assert f"{module}.{name}" in found[0].detail
    assert found[0].path == path


DENIED = {
    "by protocol 0": b"cos\nsystem\n(S'x'\ntR.",
    "by INST": b"(S'x'\nios\nsystem\n.",
    "by OBJ": b"(cos\nsystem\nS'x'\no.",
    "by NEWOBJ": b"\x80\x02cos\nsystem\n)\x81.",
    "by NEWOBJ_EX": b"\x80\x04cos\nsystem\n)}\x92.",
    "by STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    "by STACK_GLOBAL out of the memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x01x\x85R.",
    "by STACK_GLOBAL, memo numbers swapped": b"\x80\x04"
    + text("system")
    + b"q\x00"
    + text("os")
    + b"q\x010" * 1
    + b"h\x01h\x00\x93X\x01\0\0\0x\x85R.",
    "by a name written over in the memo": b"\x80\x04"
    + text("OrderedDict")
    + b"q\x00"
    + text("system")
    + b"q\x0000"
    + text("os")
    + b"h\x00\x93)R.",
    "by STACK_GLOBAL of duplicates": b"\x80\x04\x8c\x02os2\x93\x8c\x01x\x85R.",
    "in the second pickle": ALICE + calls("os", "system"),
    "in the hundredth pickle": ALICE * 99 + calls("os", "system"),
    "in a frame": b"\x80\x04\x95\x20\0\0\0\0\0\0\0" + calls("os", "system")[2:].ljust(32, b"."),
    "before it breaks": calls("os", "system")[:-1] + b"\xff",
    "dropped again": b"\x80\x02cos\nsystem\n0N.",
    "as a factory": b"\x80\x02ccollections\ndefaultdict\ncos\nsystem\n\x85R.",
    "as an argument of a rebuilder": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNN)tR.",
    "by a number of copyreg's": b"\x80\x02\x82\x01)R.",
    "what a call gave is called": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
    "a string is called": b"\x80\x02X\x01\0\0\0x)R.",
    "a global is changed": b"\x80\x02ccollections\nOrderedDict\n}X\x01\0\0\0aK\x01sb.",
    "a name that is no string": b"\x80\x04K\x01\x8c\x06system\x93)R.",
    "a name of bytes": b"\x80\x04C\x02os\x8c\x06system\x93)R.",
    "a blank in the module": b"\x80\x02ctorch._utils _rebuild_tensor_v2\nx\n)R.",
    "escapes in a name": b"\x80\x02ctorch\n\\x5fload\n)R.",
    "letters that are not ASCII": "\x80\x02".encode("latin-1") + "c\u043es\nsystem\n)R.".encode(),
    "in a legacy torch file": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + ALICE * 2 + calls("os", "system"),
    "a torchscript class": b"\x80\x02c__torch__.net\nNet\n)\x81.",
}


@pytest.mark.parametrize("data", DENIED.values(), ids=DENIED.keys())
@pytest.mark.parametrize("step", [1, MIB])
def test_no_way_around_is_open(data: bytes, step: int, look: Look) -> None:
    assert "danger" in {severity for _, severity in rules(look({"a.pt": data}, step))}


UNREADABLE = {
    "nothing": b"",
    "zeros": bytes(1000),
    "no end": ALICE[:-1],
    "an unknown opcode": b"\x80\x02\xfe.",
    "nothing on the stack": b"\x80\x02.",
    "a mark to stop at": b"\x80\x02(.",
    "no mark": b"\x80\x02t.",
    "a memo that is empty": b"\x80\x02h\x05.",
    "a memo with a gap": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a string of 2**63 bytes": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
    "a frame of 2**64 bytes": b"\x80\x04\x95" + b"\xff" * 8,
    "a long of a negative size": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "a number of 5000 digits": b"I" + b"9" * 5000 + b"\n.",
    "compressed": b"\x78\x9c" + ALICE,
    "a tar": b"x".ljust(257, b"\0") + b"ustar".ljust(255, b"\0"),
    "a duplicated mark": b"\x80\x02(2.",
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_named_a_pickle_and_cannot_be_read_is_dangerous(data: bytes, look: Look) -> None:
    assert ("pickle-unreadable", "danger") in rules(look({"a.pkl": data}))


@pytest.mark.parametrize(
    "data", [b"\x80\x02\x82\x01junk", b"\x80\x04R" + bytes(600), b"\x80\x02cab\xff\n", b"cat\ndog\nb"]
)
def test_what_begins_as_a_pickle_by_chance_is_none(data: bytes, look: Look) -> None:
    assert look({"data/17": data, "labels.txt": data}).findings() == ()


def test_what_follows_a_pickle_is_reported(look: Look) -> None:
    assert rules(look({"a.pkl": ALICE + b"\xff\xff"})) == {("pickle-trailing", "warning")}


ODD = [("numpy.core.multiarray", "scalar"), ("argparse", "Namespace"), ("pathlib", "PosixPath")]


@pytest.mark.parametrize(("module", "name"), ODD)
def test_what_is_no_tensor_but_harmless_is_a_warning(module: str, name: str, look: Look) -> None:
    assert rules(look({"a.pt": calls(module, name)})) == {("pickle-odd", "warning")}


def test_picklescan_is_heard_where_it_is_worse(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picklescan.scanner._unsafe_globals", {"collections": "*"})
    assert rules(look({"a.pt": pickle.dumps(OrderedDict(), 2)})) == {("picklescan", "danger")}


def test_picklescan_that_fails_is_no_consent(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("picklescan.scanner._list_globals", fails)
    assert rules(look({"a.pt": ALICE})) == {("picklescan", "danger")}


def test_picklescan_sees_the_globals_of_a_long_pickle(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picklescan.scanner._unsafe_globals", {"collections": "*"})
    data = b"\x80\x02" + b"N0" * 150_000 + b"ccollections\nOrderedDict\n)R."
    assert rules(look({"a.pt": data})) == {("picklescan", "danger")}


def test_nothing_is_printed(look: Look, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        look({"a.pt": calls("os", "system"), "b.pt": b"\xff"})
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def in_zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


SCRIPT_CLASS = b"\x80\x02c__torch__.net\nNet\n)\x81."


def test_a_torchscript_class_belongs_in_a_torchscript_archive(look: Look) -> None:
    script = {"m/code/__torch__.py": b"class Net", "m/data.pkl": SCRIPT_CLASS, "m/constants.pkl": b"\x80\x02)."}
    assert look({"m.pt": in_zip(script)}).findings() == ()
    assert rules(look({"m.pt": in_zip({**script, "m/other.pkl": SCRIPT_CLASS})})) == {("pickle-global", "danger")}
    del script["m/constants.pkl"]
    assert ("pickle-global", "danger") in rules(look({"m.pt": in_zip(script)}))


@pytest.mark.parametrize("name", ["m/data.pkl", "m/x.debug_pkl", "m/data/0", "m/.data/serialization_id", "extra"])
def test_a_pickle_in_a_zip_is_found_under_any_name(name: str, look: Look) -> None:
    found = look({"m.pt": in_zip({"m/version": b"3", name: calls("os", "system")})}).findings()
    assert (found[0].path, found[0].severity) == (f"m.pt!{name}", Severity.DANGER)


BOMBS = {
    "billions of laughs": b"\x80\x02]" + b"q\x00(h\x00h\x00h\x00h\x00h\x00h\x00t" * 30_000 + b".",
    "duplicates of duplicates": b"\x80\x02)" + b"2\x86" * 150_000 + b".",
    "a deep nest": b"\x80\x02" + b"]" * 150_000 + b"a" * 149_999 + b".",
    "many marks": b"\x80\x02" + b"(" * 300_000,
    "many strings": b"\x80\x04" + b"\x8c\x01a\x94" * 150_000 + b".",
    "a string of 2 MB": b"\x80\x02X" + struct.pack("<I", 2 * MIB) + b"a" * (2 * MIB) + b".",
    "many globals": b"\x80\x02" + b"".join(b"cm%d\nn\n0" % n for n in range(50_000)) + b"N.",
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_costs_little_memory(data: bytes) -> None:
    named = []
    pickles = Pickles(data, Budget(), lambda *name: named.append(name), named.append)
    tracemalloc.start()
    try:
        with suppress(Unreadable, Exhausted):
            pickles.one()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB  # eight bytes for each value, twice while the array grows
    assert len(named) <= 512


def test_too_many_opcodes_are_dangerous_whatever_they_do(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scanning.findings.Budget.__init__.__defaults__", (1 << 30, 1000))
    assert rules(look({"a.pkl": b"\x80\x02" + b"N0" * 1000 + b"N."})) == {("pickle-unchecked", "danger")}


def test_too_large_a_pickle_is_dangerous(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scanning.opening.CAPTURE_MAX", 1000)
    large = b"\x80\x02X" + struct.pack("<I", 2000) + b"a" * 2000 + b"0" + calls("os", "system")[2:]
    assert rules(look({"a.pkl": large})) == {("pickle-unchecked", "danger")}
    assert rules(look({"renamed": large})) == {("pickle-unchecked", "danger")}
    legacy = HARMLESS["a legacy torch file"] + bytes(1000)
    assert rules(look({"a.pt": legacy})) == {("pickle", "note")}


OPCODES = st.sampled_from(
    [
        *[bytes([letter]) for letter in b"()]}N012taesubRoQ.\x85\x86\x81\x92\x93\x94\x97\x98\x8f\x90"],
        *(b"h\x00", b"h\x01", b"q\x00", b"q\x01", b"K\x01", b"\x82\x01", b"P1\n", b"I1\n", b"F1\n"),
        *(b"\x8c\x02os", b"\x8c\x06system", b"S'x'\n", b"V\\u0041\n", b"\x95" + bytes(8)),
        *(b"cos\nsystem\n", b"ios\nsystem\n", b"ccollections\nOrderedDict\n"),
    ]
)


@given(st.lists(OPCODES, max_size=40), st.sampled_from(["a.pkl", "a.pt", "a.txt"]))
@example([b")", b".", b"0", b"cos\nsystem\n"], "a.pkl")  # what follows the pickle is none, and never runs
@example([b")", b".", b"cos\nsystem\n", b")", b"R", b"."], "a.pkl")
@settings(max_examples=400)
def test_any_opcodes_are_judged(opcodes: list[bytes], path: str) -> None:
    data = b"\x80\x04" + b"".join(opcodes)
    scanner = Scanner()
    assert b"".join(scanner.watch(path, [data])) == data
    found = scanner.findings()
    if path != "a.txt":
        assert found
        assert "os.system" not in _asked(data) or any(item.severity is Severity.DANGER for item in found)


@given(st.binary(max_size=300), st.sampled_from(["a.pkl", "a.bin"]))
@settings(max_examples=300)
def test_any_bytes_are_judged(data: bytes, path: str) -> None:
    scanner = Scanner()
    list(scanner.watch(path, [data]))
    assert all(finding.path == path for finding in scanner.findings())


class _Caught(pickle.Unpickler):
    """Loads what may be loaded, and says what it was asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.asked: set[str] = set()

    def find_class(self, module: str, name: str) -> object:
        self.asked.add(f"{module}.{name}")
        return {"OrderedDict": OrderedDict}.get(name, lambda *_: None)

    def persistent_load(self, pid: object) -> object:
        return pid


def _asked(data: bytes) -> set[str]:
    """What Python's own unpickler imports of a file whose pickles are loaded one after another, as far as it gets."""
    unpickler = _Caught(data)
    with suppress(Exception):  # whatever its opcodes lead to
        while True:
            unpickler.load()
    return unpickler.asked


@given(st.lists(OPCODES, max_size=40))
@settings(max_examples=400)
def test_whatever_the_unpickler_asks_for_was_named(opcodes: list[bytes]) -> None:
    """The machine against Python's own unpickler, whose imports do nothing here."""
    data = b"\x80\x04" + b"".join(opcodes)
    named, odd = set[str](), list[str]()
    try:
        Pickles(data, Budget(), lambda module, name: named.add(f"{module}.{name}"), odd.append).one()
    except Unreadable:
        odd.append("unreadable")
    unpickler = _Caught(data)
    try:
        unpickler.load()
    except Exception:  # noqa: BLE001  # whatever its opcodes lead to
        assert odd or not unpickler.asked - named
    else:
        assert unpickler.asked <= named
