"""What a `.mar` is made of: which files come along, which handler serves them, and what the manifest says."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Member
from pipelines.packagers import Packed, PackRequest, packager_for, packager_of
from pipelines.packagers.base import Concern
from pipelines.packagers.torchserve import TorchServePackager
from registry.errors import InvalidInput, Refused
from registry.facts import Artifact, FileFact, Format, Scan
from registry.names import VersionRef
from tests.pipelines.memory import traced

MIB = 1 << 20
ROOT = Path(__file__).parents[4]
MANIFEST, SLUICE, SAGEMAKER = "MAR-INF/MANIFEST.json", "sluice_handler.py", "sluice_sagemaker_handler.py"
FUNCTION = b"def handle(data, context):\n    return data\n"
CLASS = b"class Echo(BaseHandler):\n    pass\n"
MODEL_FN = b"def model_fn(model_dir):\n    return 1\n"
NET = b"class Net(nn.Module):\n    pass\n"
E = Format.EAGER


def test_a_mar_is_a_zip_with_the_model_the_handler_and_a_manifest(digits: Any, examples: Path) -> None:
    with tarfile.open(examples / "digits/jobs/digits-2026-11-08/model.tar.gz") as tar:
        file = tar.extractfile("model.pt")
        assert file is not None
        model = file.read()
    with zipfile.ZipFile(io.BytesIO(digits.data)) as mar:
        assert mar.testzip() is None
        assert mar.namelist() == ["model.pt", SLUICE, MANIFEST]
        assert mar.read("model.pt") == model
        compile(mar.read(SLUICE), SLUICE, "exec")
        manifest = json.loads(mar.read(MANIFEST))
        for info in mar.infolist():
            # TorchServe refuses a stored entry whose size comes behind it
            assert (info.compress_type, info.date_time) == (zipfile.ZIP_DEFLATED, (1980, 1, 1, 0, 0, 0))
            assert info.compress_size >= info.file_size  # nothing is spent on compressing
    assert manifest == {
        "createdOn": "20/11/2026 12:30:00",
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": "digits",
            "modelVersion": "7",
            "serializedFile": "model.pt",
            "handler": SLUICE,
        },
    }


def test_the_manifest_is_written_as_the_archiver_writes_it(mar: Any) -> None:
    files = {"w.pt": b"w", "model.py": NET, "handler.py": CLASS, "requirements.txt": b"", "model-config.yaml": b"a: 1"}
    assert mar(files, E).files[MANIFEST].decode() == (
        '{\n  "createdOn": "20/11/2026 12:30:00",\n  "runtime": "python",\n  "model": {\n    "modelName": "m",\n'
        '    "serializedFile": "w.pt",\n    "handler": "handler.py",\n    "modelFile": "model.py",\n'
        '    "modelVersion": "1",\n    "requirementsFile": "requirements.txt",\n    "configFile": "model-config.yaml"\n'
        '  },\n  "archiverVersion": "0.12.0"\n}'
    )


# Which files come along

STRANGERS = [
    "sluice_handler.py",
    "sluice_sagemaker_handler.py",
    "MAR-INF/MANIFEST.json",
    "mar-inf",
    "sitecustomize.py",
    "sitecustomize/x.txt",
    "usercustomize.py",
    "torch.py",
    "torch.PY",
    "json/__init__.py",
    "namespace/deep/x.py",
    "x.so",
    "x.cpython-311-x86_64-linux-gnu.so",
    "x.pyc",
    "__pycache__/x.cpython-311.pyc",
    "code/__pycache__/x.txt",
    "evil.pth",
    "plugin.dist-info/entry_points.txt",
    "plugin.egg-info/entry_points.txt",
    "x.egg",
    "x.whl",
    ".hidden",
    ".git/config",
    "code/.cache/x",
    "._model.pt",
    "__MACOSX/model.pt",
    ".DS_Store",
    "old.mar",
    "logs/events.out.tfevents.1.host",
]


@pytest.mark.parametrize("path", STRANGERS)
def test_nothing_gets_where_the_server_would_run_it_unasked(path: str, mar: Any) -> None:
    """TorchServe puts the model's folder on its workers' import path."""
    found = mar({path: b"import os", "model.pt": b"m"}, root="model.pt")
    assert found.paths == ["model.pt", SLUICE, MANIFEST]
    assert found.files.get(path) != b"import os"


@pytest.mark.parametrize(
    "path", ["code/helper.py", "code/lib.so", "train.py", "code/sub/x.py", "model.py", "code/model.py"]
)
def test_python_stays_out_where_no_handler_of_the_user_needs_it(path: str, mar: Any) -> None:
    assert mar({"model.pt": b"m", path: b"x"}).paths == ["model.pt", SLUICE, MANIFEST]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("index_to_name.json", b"{}"),
        ("source_vocab.pt", b"x"),
        ("vocab.txt", b"a"),
        ("tokenizer/tokenizer.json", b"{}"),
        ("code/labels.csv", b"a"),
        ("consolidated.01.pth", b"PK\3\4"),
        ("old.pth", b"\x80\x02"),
        ("README", b""),
    ],
)
def test_data_comes_along_for_any_handler(path: str, data: bytes, mar: Any) -> None:
    plain = mar({"model.pt": b"m", path: data})
    assert plain.paths == ["model.pt", path, SLUICE, MANIFEST]
    assert plain.files[path] == data
    assert path in mar({"model.pt": b"m", path: data}, handler="image_classifier").paths
    assert path in mar({"model.pt": b"m", path: data, "handler.py": FUNCTION}).paths


def test_the_users_code_is_the_folder_of_the_handler(mar: Any) -> None:
    files = {"code/a.py": b"", "code/b/c.py": b"", "code/ops.so": b"", "train.py": b"", "x.so": b"", "data.bin": b""}
    found = mar({"model.pt": b"m", "code/inference.py": MODEL_FN, **files})
    assert {"code/a.py", "code/b/c.py", "code/ops.so", "data.bin"} <= {*found.paths}
    assert not {"train.py", "x.so"} & {*found.paths}


@pytest.mark.parametrize("path", ["code/x.pyc", "code/sitecustomize.py", "code/.env", "code/p.dist-info/METADATA"])
def test_some_files_never_come_along(path: str, mar: Any) -> None:
    assert path not in mar({"model.pt": b"m", "code/inference.py": MODEL_FN, path: b""}).paths


def test_a_handler_at_the_top_has_all_python_for_its_code(mar: Any) -> None:
    found = mar({"model.pt": b"m", "handler.py": FUNCTION, "net.py": b"", "lib/x.py": b"", "code/y.py": b""})
    assert {"net.py", "lib/x.py", "code/y.py"} <= {*found.paths}


@pytest.mark.parametrize("folder", ["", "code/"])
def test_requirements_and_settings_lie_where_the_manifest_says(folder: str, mar: Any) -> None:
    files = {f"{folder}requirements.txt": b"numpy", f"{folder}model-config.yaml": b"minWorkers: 1\n"}
    found = mar({"model.pt": b"m", **files})
    assert found.files["requirements.txt"] == b"numpy"
    assert found.files["model-config.yaml"] == b"minWorkers: 1\n"
    assert found.model["requirementsFile"] == "requirements.txt"
    assert found.model["configFile"] == "model-config.yaml"


def test_requirements_beside_the_handler_come_before_others(mar: Any) -> None:
    both = {"model.pt": b"m", "requirements.txt": b"train", "code/requirements.txt": b"serve"}
    assert mar(both).files["requirements.txt"] == b"train"
    assert mar({**both, "code/inference.py": MODEL_FN}).files["requirements.txt"] == b"serve"
    assert mar({**both, "handler.py": FUNCTION}).files["requirements.txt"] == b"train"


@pytest.mark.parametrize(
    "data", [b"a: [", b"- a", b"!!javax.script.ScriptEngineManager []", b"a: &x 1\nb: *x", b"\xff", b"[" * 5000]
)
def test_settings_that_would_stop_the_server_or_run_code_in_it_are_refused(data: bytes, mar: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^model-config\.yaml .*\.$"):
        mar({"model.pt": b"m", "model-config.yaml": data})


def test_two_files_that_would_lie_in_one_place_are_refused(mar: Any) -> None:
    with pytest.raises(Refused, match="twice"):
        mar({"model.pt": b"m", "Requirements.txt": b"", "code/requirements.txt": b""})


# Which handler serves


@pytest.mark.parametrize(
    ("path", "source", "named"),
    [
        ("code/inference.py", FUNCTION, "code/inference.py:handle"),
        ("code/handler.py", CLASS, "code/handler.py:handle"),
        ("handler.py", FUNCTION, "handler.py"),
        ("inference.py", CLASS, "inference.py"),
    ],
)
def test_a_torchserve_handler_is_named_as_torchserve_finds_it(path: str, source: bytes, named: str, mar: Any) -> None:
    found = mar({"model.pt": b"m", path: source})
    assert found.model == {"serializedFile": "model.pt", "handler": named}
    assert found.paths == ["model.pt", path, MANIFEST]


@pytest.mark.parametrize("path", ["code/inference.py", "code/handler.py", "handler.py", "inference.py"])
def test_sagemaker_code_is_called_by_sluices_adaptor(path: str, mar: Any) -> None:
    found = mar({"model.pth": b"m", path: MODEL_FN}, E)
    assert found.model == {"serializedFile": "model.pth", "handler": SAGEMAKER, "extensions": {"code": path}}
    assert found.paths == ["model.pth", path, SAGEMAKER, MANIFEST]


def test_the_handler_may_come_before_the_weights(mar: Any) -> None:
    files = {"model.pth": b"m", "code/inference.py": MODEL_FN}
    turned = mar(dict(reversed(files.items())), E, root="model.pth")
    assert turned.model == mar(files, E).model
    assert turned.paths == ["code/inference.py", "model.pth", SAGEMAKER, MANIFEST]


def test_code_comes_before_the_top(mar: Any) -> None:
    found = mar({"model.pt": b"m", "handler.py": FUNCTION, "code/inference.py": MODEL_FN})
    assert found.model["extensions"] == {"code": "code/inference.py"}
    assert "handler.py" not in found.paths


def test_the_first_file_that_is_a_handler_is_the_handler(mar: Any) -> None:
    helpers = {"model.pt": b"m", "code/inference.py": b"def helper(): pass", "code/handler.py": FUNCTION}
    assert mar(helpers).model["handler"] == "code/handler.py:handle"


def test_torchscript_needs_no_model_fn(mar: Any) -> None:
    assert mar({"model.pt": b"m", "code/inference.py": b"def input_fn(b, t): pass"}).model["handler"] == SAGEMAKER


def test_a_handler_of_torchserves_own_reads_data_alone(mar: Any) -> None:
    files = {"model.pt": b"m", "index_to_name.json": b"{}", "handler.py": FUNCTION, "code/inference.py": b"x"}
    found = mar(files, handler="image_classifier")
    assert found.model == {"serializedFile": "model.pt", "handler": "image_classifier"}
    assert found.paths == ["model.pt", "index_to_name.json", MANIFEST]


@pytest.mark.parametrize("handler", ["", "image_classifier"])
@pytest.mark.parametrize("path", ["model.py", "code/model.py"])
def test_eager_weights_with_a_class_are_put_together_by_the_server(path: str, handler: str, mar: Any) -> None:
    beside = path.replace("model.py", "layers.py")
    found = mar({"w.pth": b"w", path: NET, beside: b"x = 1", "code/y.txt": b""}, E, handler=handler)
    assert found.model == {"serializedFile": "w.pth", "handler": handler or SLUICE, "modelFile": "model.py"}
    assert (found.files["model.py"], found.files["layers.py"]) == (NET, b"x = 1")
    assert path.startswith("code/") is not (path in found.paths)


def test_a_torchserve_handler_finds_the_class_at_the_top_too(mar: Any) -> None:
    found = mar({"w.pt": b"w", "code/model.py": NET, "code/handler.py": CLASS}, E)
    assert found.model["modelFile"] == "model.py"
    assert found.files["model.py"] == found.files["code/model.py"] == NET
    several = mar({"w.pt": b"w", "code/model.py": NET + CLASS, "code/handler.py": CLASS}, E)
    assert "modelFile" not in several.model
    assert "model.py" not in several.paths


def test_a_handler_may_do_without_a_class_that_is_too_large_to_look_into(mar: Any) -> None:
    found = mar({"w.pt": b"w", "code/model.py": NET + b"#" * 300_000, "code/inference.py": MODEL_FN}, E)
    assert "code/model.py" in found.paths


def test_sagemaker_code_needs_no_model_file(mar: Any) -> None:
    found = mar({"w.pt": b"w", "model.py": NET, "code/inference.py": MODEL_FN}, E)
    assert "modelFile" not in found.model
    assert "model.py" in found.paths


BAD: dict[str, tuple[dict[str, bytes], Format, str, str]] = {
    "weights alone": ({"w.safetensors": b""}, E, "", "no code says which model"),
    "weights with other code": ({"w.pt": b"", "train.py": NET}, E, "", "no code says which model"),
    "weights with TorchServe's handler": ({"w.pt": b""}, E, "image_classifier", "no code says which model"),
    "two classes": ({"w.pt": b"", "model.py": NET + CLASS}, E, "", "defines 2 classes"),
    "no class": ({"w.pt": b"", "code/model.py": b"x = 1"}, E, "", "defines 0 classes"),
    "no model_fn": ({"w.pt": b"", "code/inference.py": b"def predict_fn(d, m): 0"}, E, "", "no model_fn"),
    "shards": ({"model-00001-of-00002.safetensors": b"", "model.py": NET}, E, "", "one shard of several"),
    "a file that is no handler": ({"m.pt": b"", "inference.py": b"x = 1"}, Format.TORCHSCRIPT, "", "no handler"),
    "a huge handler": ({"m.pt": b"", "handler.py": b"#" * 300_000}, Format.TORCHSCRIPT, "", "are the most"),
    "no such handler": ({"m.pt": b""}, Format.TORCHSCRIPT, "no_such", "has no handler no_such"),
    "a name that TorchServe does not load": (
        {"m.pth": b""},
        Format.TORCHSCRIPT,
        "text_classifier",
        "does not read m.pth",
    ),
    "a form that TorchServe does not load": (
        {"w.safetensors": b"", "model.py": NET},
        E,
        "base_handler",
        "does not read w.safetensors",
    ),
    "a huge class file": ({"w.pt": b"", "model.py": b"#" * 300_000}, E, "", "are the most"),
    "huge settings": ({"m.pt": b"", "model-config.yaml": b"#" * 300_000}, Format.TORCHSCRIPT, "", "are the most"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_could_not_serve_is_not_packed(case: str, mar: Any) -> None:
    files, form, handler, told = BAD[case]
    with pytest.raises(InvalidInput) as caught:
        mar(files, form, handler=handler)
    assert told in str(caught.value)
    assert ": " in str(caught.value)
    assert str(caught.value).endswith(".")


# The artifact


def test_a_signature_comes_from_the_files(mar: Any) -> None:
    told = {"inputs": [{"name": "x", "dtype": "float32", "shape": [None, 2]}], "sample": {"instances": [[1, 2]]}}
    found = mar({"model.pt": b"m", "code/signature.json": json.dumps(told).encode()})
    assert found.signature.told_by == "code/signature.json"
    assert found.signature.sample == {"instances": [[1, 2]]}
    assert mar({"model.pt": b"m"}).signature is None
    with pytest.raises(InvalidInput, match="is not JSON"):
        mar({"model.pt": b"m", "sample.json": b"{"})


def test_a_signature_is_read_from_a_file_that_stays_out(mar: Any) -> None:
    found = mar({"MAR-INF/model.pt": b"m", "MAR-INF/sample.json": b"[1]"})
    assert "MAR-INF/sample.json" not in found.paths
    assert found.signature.sample == [1]


def test_an_artifact_comes_back_byte_for_byte(digits: Any) -> None:
    found = packager_of(digits.artifact).unpack(io.BytesIO(digits.data), digits.artifact)
    facts = []
    for member in found:
        data = b"".join(member.chunks)
        facts.append(FileFact(path=member.path, size=len(data), sha256="sha256:" + hashlib.sha256(data).hexdigest()))
    assert facts == [*digits.artifact.files]
    assert {fact.sha256 for fact in digits.scan.files} <= {fact.sha256 for fact in facts}


@pytest.mark.parametrize("step", [1, 777, 65536])
def test_an_artifact_does_not_depend_on_how_the_bytes_come(step: int, pack: Any, examples: Path) -> None:
    data = (examples / "digits/jobs/digits-2026-11-15/model.tar.gz").read_bytes()
    again = gzip.compress(gzip.decompress(data), 1)  # other bytes, of the same files
    assert pack(data, "digits@7", step).data == pack(data, "digits@7").data == pack(again, "digits@7", step).data


PACK = """
import sys
from pathlib import Path
from pipelines.archive import read_archive
from pipelines.packagers import Packed, PackRequest, packager_for

data = Path(sys.argv[1]).read_bytes()
request = PackRequest.model_validate_json(sys.argv[2])
out = packager_for(request.scan).pack(read_archive([data]), request, Packed())
sys.stdout.buffer.write(b"".join(out))
"""


def test_another_process_packs_the_same(digits: Any, examples: Path) -> None:
    asked = PackRequest(ref=digits.ref, scan=digits.scan, created_at=datetime(2026, 11, 20, 12, 30, tzinfo=UTC))
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "12345", "SOURCE_DATE_EPOCH": "1700000000"}
    archive = examples / "digits/jobs/digits-2026-11-08/model.tar.gz"
    command = [sys.executable, "-c", PACK, str(archive), asked.model_dump_json()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout == digits.data


class Synthetic:
    """The bytes of a model that is never held: the same megabyte again and again, but for its first byte."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._piece = hashlib.shake_128(b"seed").digest(MIB)

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.size // MIB):
            yield bytes([number % 256]) + self._piece[1:]


def test_packing_and_unpacking_hold_little(tmp_path: Path) -> None:
    model, packager = Synthetic(64 * MIB), TorchServePackager()
    scan = Scan(source="sha256:" + "0" * 64, size=1, format=Format.TORCHSCRIPT, root="model.pt", files=())
    request = PackRequest(ref=VersionRef.parse("m@1"), scan=scan, created_at=datetime(2026, 11, 20, tzinfo=UTC))
    packed, path = Packed(), tmp_path / "artifact"
    with traced() as packing, path.open("wb") as out:
        out.writelines(packager.pack([Member("model.pt", model.size, iter(model))], request, packed))
    size, files = path.stat().st_size, tuple(packed.files)
    artifact = Artifact(type="mar", source=scan.source, blob=scan.source, size=size, files=files)
    with traced() as unpacking, path.open("rb") as file:
        sizes = {m.path: sum(map(len, m.chunks)) for m in packager.unpack(file, artifact)}
    assert sizes["model.pt"] == model.size
    assert packing.size < 8 * MIB
    assert unpacking.size < 8 * MIB


def test_torchserve_has_its_packager(digits: Any) -> None:
    assert isinstance(packager_for(digits.scan), TorchServePackager)
    assert isinstance(packager_of(digits.artifact), TorchServePackager)


def test_code_and_weights_are_told_apart() -> None:
    code = ["x/y.py", MANIFEST, "requirements.txt", "model-config.yaml", "code/labels.csv", SLUICE]
    weights = ["model.pt", "classes.json", "sub/requirements.txt", "encode/x"]
    concern = TorchServePackager().concern
    assert {path: concern(path) for path in code} == dict.fromkeys(code, Concern.CODE)
    assert {path: concern(path) for path in weights} == dict.fromkeys(weights, Concern.WEIGHTS)


SOURCES = st.lists(
    st.sampled_from(
        [
            "def handle(a, b): 0",
            "class A(BaseHandler): 0",
            "class B: 0",
            "def model_fn(d): 0",
            "from x import *",
            "(",
            "x",
        ]
    ),
    max_size=4,
).map(lambda lines: "\n".join(lines).encode())
PATHS = st.sampled_from(
    [*STRANGERS, "code/inference.py", "handler.py", "model.py", "code/model.py", "model-config.yaml", "a/b.txt"]
)


@given(
    files=st.dictionaries(PATHS, SOURCES | st.binary(max_size=30), max_size=6),
    form=st.sampled_from([E, Format.TORCHSCRIPT]),
)
@settings(max_examples=300)
def test_any_files_are_packed_or_refused_in_one_sentence(files: dict[str, bytes], form: Format, mar: Any) -> None:
    try:
        found = mar({"w.pt": b"w", **files}, form)
    except (InvalidInput, Refused) as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert found.paths[-1] == MANIFEST
        assert {found.model["serializedFile"]} | ({"model.py"} & {found.model.get("modelFile")}) <= {*found.paths}
        handler = found.model["handler"].split(":")[0]
        assert handler in found.paths
