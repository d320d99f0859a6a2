"""Ways past the scan that were tried out: each file here ran code, or could, where the scan saw nothing to refuse."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.scanning import Scanner
from pipelines.scanning.findings import Budget
from pipelines.scanning.opcodes import Pickles, Unreadable
from registry.facts import Severity

Look = Callable[..., Scanner]
MIB = 1 << 20
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True}))
"""The three pickles in front of the one that matters in what torch.save wrote before version 1.6."""
KEYS = pickle.dumps([], 2)
"""The one behind it."""
LEGACY_TEXT = b"L%dL\n.I1001\n.}." % MAGIC
EVIL = b"cos\nsystem\n(S'x'\ntR."


def rules(scanner: Scanner) -> set[tuple[str, str]]:
    return {(finding.rule, finding.severity.value) for finding in scanner.findings()}


def short(word: str) -> bytes:
    return b"\x8c" + bytes([len(word)]) + word.encode()


def test_the_memo_counts_what_is_in_it_not_how_far_it_reaches(look: Look) -> None:
    """MEMOIZE writes under the number of values there are, so after a gap it writes over one (`load_memoize`)."""
    data = b"\x80\x04" + short("collections") + b"q\x020" + short("x") + b"q\x010" + short("torch.storage") + b"\x940"
    data += short("OrderedDict") + b"q\x040" + short("y") + b"q\x030" + short("_load_from_bytes") + b"\x940"
    data += b"h\x02h\x04\x93C\x01x\x85R."
    found = look({"a.pt": data}).findings()
    assert ("pickle-global", Severity.DANGER) in {(finding.rule, finding.severity) for finding in found}
    assert "torch.storage._load_from_bytes" in found[0].detail


@pytest.mark.parametrize("path", ["a.pt", "weights"])
def test_a_legacy_torch_file_whose_pickle_is_too_large_is_dangerous(
    path: str, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.scanning.opening.CAPTURE_MAX", 2000)
    large = b"\x80\x02X" + struct.pack("<I", 4000) + b"a" * 4000 + b"0" + EVIL
    assert rules(look({path: LEGACY + large + KEYS})) == {("pickle-unchecked", "danger")}


@pytest.mark.parametrize("front", [LEGACY, LEGACY_TEXT], ids=["as torch wrote it", "its number as text"])
@pytest.mark.parametrize(
    "odd", [b"I0x1\n0", b"Nr" + struct.pack("<I", MIB) + b"0"], ids=["a number that C reads", "a memo with a gap"]
)
@pytest.mark.parametrize("path", ["a.pt", "weights.bin"])
def test_a_legacy_torch_file_whose_pickle_cannot_be_read_is_dangerous(
    front: bytes, odd: bytes, path: str, look: Look
) -> None:
    assert ("pickle-unreadable", "danger") in rules(look({path: front + odd + EVIL + KEYS}))


HEADERLESS = {
    "a legacy torch file, its number as text": LEGACY_TEXT + EVIL + KEYS,
    "its arguments first": b"(S'x'\nios\nsystem\n.",
    "a value first that is dropped": b"N0" + EVIL,
    "a number first": b"I1\n0K\x010" + EVIL,
}


@pytest.mark.parametrize("data", HEADERLESS.values(), ids=HEADERLESS.keys())
def test_a_pickle_of_an_old_protocol_is_found_under_any_name(data: bytes, look: Look) -> None:
    assert "danger" in {severity for _, severity in rules(look({"weights.bin": data}))}


WORDS = [
    b"",
    b"N. Nobody",
    b"The first word",
    b"Lists\nof\nwords\n",
    b"(a, b)\n",
    b"cat\ndog\n",
    b"]\n",
    b"].\n",
    b"I.e.\n",
]


@pytest.mark.parametrize("data", WORDS)
def test_words_are_no_pickle(data: bytes, look: Look) -> None:
    assert look({"notes": data, "labels.txt": data + b"word\n" * 500}).findings() == ()


def npy(descr: str, data: bytes, more: str = "") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), {more}}}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + data


class _Recorder(pickle.Unpickler):
    """Python's own unpickler, which is told what to import, and does not."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.asked: list[tuple[str, str]] = []

    def find_class(self, module: str, name: str) -> Any:
        self.asked.append((module, name))
        return _Anything

    def persistent_load(self, _pid: object) -> object:
        return _Anything()


class _Anything:
    """Takes whatever a pickle does with it."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __new__(cls, *_: object, **__: object) -> Any:
        return super().__new__(cls)


MACHINE = st.sampled_from(
    [
        *[bytes([letter]) for letter in b"()]}N012tsubRoQ\x85\x86\x81\x93\x94\x94\x94\x93"],
        *[b"h" + bytes([at]) for at in range(5)],
        *[b"q" + bytes([at]) for at in range(5)],
        *[b"r" + struct.pack("<I", at) for at in (0, 3, 2000)],
        *(b"p1\n", b"p01\n", b"g1\n", b"j\1\0\0\0", b"I01\n", b"I0x1\n", b"K\1", b"\x95" + bytes(8)),
        *(short("a"), short("b"), short("c"), b"S'd'\n", b"Ve\n", b"U\x01f", b"X\1\0\0\0g"),
        *(b"cm\nn\n", b"im\no\n", b"0" + short("a"), short("b") + b"\x940"),
    ]
)


@given(st.lists(MACHINE, max_size=30), st.sampled_from([2, 4]))
@example([short("a"), b"q\2", b"0", short("b"), b"q\1", b"0", short("c"), b"\x94", b"0", b"h\2h\1\x93"], 4)
@settings(max_examples=1000)
def test_what_python_imports_was_seen(opcodes: list[bytes], protocol: int) -> None:
    """Whatever Python's own unpickler imports, ours has told of, unless it called the pickle odd or unreadable."""
    data = b"\x80" + bytes([protocol]) + b"".join(opcodes) + b"."
    seen, odd = set[tuple[str, str]](), list[str]()
    with suppress(Unreadable):
        Pickles(data, Budget(), lambda *name: seen.add(name), odd.append).one()
        recorder = _Recorder(data)
        with suppress(Exception):
            recorder.load()
        assert odd or set(recorder.asked) <= seen


OBJECTS = ['"|O"', "'object'", r"'\x4f'", "[('f', \"O\")]", "[('f', [('g', 'object')])]", "'|' \"O\""]


@pytest.mark.parametrize("descr", OBJECTS)
def test_objects_are_found_however_their_type_is_written(descr: str, look: Look) -> None:
    """numpy evaluates the header as Python, and its types have more than one name (numpy.lib.format)."""
    assert {("numpy", "warning"), ("pickle-global", "danger")} <= rules(look({"a.npy": npy(descr, EVIL)}))


def test_a_type_that_is_told_twice_is_the_last_one(look: Look) -> None:
    data = npy("'<f4'", EVIL, "'descr': 'object'")
    assert ("pickle-global", "danger") in rules(look({"a.npy": data}))


def test_a_pickle_behind_a_header_too_long_to_read_is_dangerous(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scanning.opening.CAPTURE_MAX", 1000)
    assert ("pickle-unchecked", "danger") in rules(look({"a.npy": npy("'|O'", EVIL, " " * 2000)}))


USUAL = [
    npy("'<f4'", EVIL),
    npy("'|S5'", EVIL),
    npy("'<M8[ns]'", EVIL),
    npy("[('a b', '<f4', (2, 3)), ('O', '|V5')]", EVIL),
    b"\x93NUMPY\x01\0\x39\0{'fortran_order':False,'shape':(1L,),'descr':'<f4'}      \n" + EVIL,
]


@pytest.mark.parametrize("data", USUAL)
def test_arrays_of_numbers_are_nothing_to_report(data: bytes, look: Look) -> None:
    assert look({"a.npy": data}).findings() == ()


def in_zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED, extra: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.extra = extra
            archive.writestr(info, data, method)
    return out.getvalue()


KERAS = {"config.json": b'{"class_name": "Lambda", "config": {}}', "metadata.json": b"{}"}


@pytest.mark.parametrize("disk", [b"\0\0\0\0", b"\1\0\1\0", b"\xff\xff\xff\xff"])
def test_a_zip_behind_something_else_is_found_whatever_disk_it_is_said_to_lie_on(disk: bytes, look: Look) -> None:
    """Python's zipfile does not look at the number (`_RealGetContents`), PyTorch's reader takes 1 as well."""
    data = in_zip(KERAS)
    end = data.rindex(b"PK\5\6") + 4
    data = b"x" * 100 + data[:end] + disk + data[end + 4 :]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("config.json") == KERAS["config.json"]
    assert ("zip-ambiguous", "danger") in rules(look({"m.keras": data}))


def test_four_letters_make_no_zip(look: Look) -> None:
    for rest in (b"\xff" * 18, b"\xff" * 100, b""):
        assert look({"data": b"x" * 600 + b"PK\5\6" + rest}).findings() == ()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_python_can_unpack_and_the_scan_cannot_is_dangerous(method: int, look: Look) -> None:
    assert ("unscanned", "danger") in rules(look({"m.keras": in_zip(KERAS, method)}))


def unicode_path(header: str, name: str) -> bytes:
    """Info-ZIP's field for another name (APPNOTE 6.3.10, 4.6.9), which Python 3.12 heeds."""
    return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(header.encode())) + name.encode()


def test_a_second_name_makes_a_zip_ambiguous(look: Look) -> None:
    data = in_zip({"readme.txt": KERAS["config.json"]}, extra=unicode_path("readme.txt", "config.json"))
    assert ("zip-ambiguous", "danger") in rules(look({"m.keras": data}))
    same = in_zip({"m/version": b"3"}, extra=unicode_path("m/version", "m/version"))
    assert ("zip-ambiguous", "danger") not in rules(look({"m.pt": same}))


HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(600)


@pytest.mark.parametrize(
    "word", [rb"\u004cambda", rb"Lambd\u0061", rb"__\u006Cambda__", rb"\u004C\u0061\u006d\u0062\u0064\u0061"]
)
@pytest.mark.parametrize("step", [1, MIB])
def test_a_lambda_layer_spelled_with_escapes_is_one(word: bytes, step: int, look: Look) -> None:
    data = HDF5 + b'{"class_name": "%s"}' % word + bytes(200)
    assert ("keras-lambda", "danger") in rules(look({"m.h5": data}, step))


def test_hdf5_may_begin_later(look: Look) -> None:
    """A user block of 512 bytes and more may come first (HDF5 File Format Specification 3.0, II.A)."""
    assert ("keras-lambda", "danger") in rules(look({"m.h5": bytes(512) + HDF5 + b'{"class_name": "Lambda"}'}))


def test_what_macos_notes_of_a_file_is_no_checkpoint(look: Look) -> None:
    note = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(150)
    assert look({"._model.pth": note, "code/._inference.py": note}).findings() == ()


SCRIPT = {"m/data.pkl": b"\x80\x02).", "m/constants.pkl": b"\x80\x02)."}


@pytest.mark.parametrize(
    "call", ['torch.save(x, "/a")', 'torch.from_file("/a", True, 4)', 'ops.aten.save(x, "/a")', 'x . save ("/a")']
)
def test_torchscript_that_opens_files_is_a_warning(call: str, look: Look) -> None:
    """Both are operations that TorchScript's own interpreter runs, with any path (PyTorch, SECURITY.md)."""
    code = f"class M(Module):\n  def forward(self, x: Tensor) -> Tensor:\n    {call}\n    return x\n".encode()
    assert rules(look({"m.pt": in_zip({"m/code/__torch__.py": code, **SCRIPT})})) == {("torchscript-file", "warning")}
    plain = code.replace(call.encode(), b"torch.add(x, x)")
    assert look({"m.pt": in_zip({"m/code/__torch__.py": plain, **SCRIPT})}).findings() == ()


def test_a_file_made_to_be_searched_for_ever_is_given_up(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scanning.inspector._ASKED_MAX", 100)
    assert look({"m.h5": HDF5 + rb"\u00ff" * 10}).findings() == ()
    assert ("keras-lambda", "danger") in rules(look({"m.h5": HDF5 + rb"\u00ff" * 1000}))


def test_a_header_made_to_match_for_ever_is_given_up(look: Look) -> None:
    fields = "[" + ("('a', '<f4')" + " " * 30) * 150 + "("
    assert ("numpy", "warning") in rules(look({"a.npy": npy(fields, EVIL)}))


def field(number: int, data: bytes) -> bytes:
    size = len(data)
    return bytes([number << 3 | 2]) + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + data


def onnx(place: str, *, turned: bool = False, padded: bool = False) -> bytes:
    """An ONNX file with a constant, in a node, that lies in the file `place`."""
    key, value = field(1, b"location"), field(2, place.encode())
    if padded:
        value = b"\x92\x80\0" + bytes([len(place) | 128]) + b"\0" + place.encode()
    tensor = b"\x08\4\x10\1" + field(8, b"w") + field(13, value + key if turned else key + value) + b"\x70\1"
    node = field(2, b"y") + field(4, b"Constant") + field(5, field(1, b"value") + field(5, tensor))
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, field(1, node))


@pytest.mark.parametrize("step", [1, MIB])
@pytest.mark.parametrize("place", ["/etc/passwd", "../../etc/passwd", "a/../../b", "..", "/" + "a" * 200])
def test_a_tensor_of_a_node_outside_the_folder_is_found(place: str, step: int, look: Look) -> None:
    files = {"m.onnx": onnx(place), "n.onnx": onnx(place, turned=True)}
    if len(place) < 128:
        files["o.onnx"] = onnx(place, padded=True)
    found = look(files, step).findings()
    assert [(item.path, item.rule, item.severity) for item in found] == [
        (path, "onnx-external", Severity.DANGER) for path in files
    ]


@pytest.mark.parametrize("place", ["weights.bin", "a/b..c", "./w"])
def test_a_tensor_beside_the_model_is_nothing_to_report(place: str, look: Look) -> None:
    for turned in (False, True):
        assert look({"m.onnx": onnx(place, turned=turned), "n.onnx": b"location"}).findings() == ()
