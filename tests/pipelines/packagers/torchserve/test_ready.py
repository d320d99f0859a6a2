"""A `.mar` that was packed before, inside a training output."""

from __future__ import annotations

import io
import json
import random
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Limits
from registry.errors import InvalidInput, Refused
from registry.facts import Format

MIB = 1 << 20
MAR = Format.MAR
MANIFEST = "MAR-INF/MANIFEST.json"
HANDLER = b"def handle(data, context):\n    return data\n"
WEIGHTS = random.Random(4).randbytes(3 << 20)
FILES = {"handler.py": HANDLER, "weights.bin": WEIGHTS, "sub/labels.json": b"[1]", "empty": b""}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_its_files_are_packed_again_and_the_manifest_names_the_version(method: int, mar: Any, archived: Any) -> None:
    ready = archived(FILES, method, handler="handler.py", serializedFile="weights.bin", extensions={"a": [1]}, other=1)
    found = mar({"export/model.mar": ready}, MAR, ref="fraud@7")
    assert {path: data for path, data in found.files.items() if path != MANIFEST} == FILES
    assert found.paths[-1] == MANIFEST
    assert found.manifest == {
        "createdOn": "20/11/2026 12:30:00",
        "runtime": "python",
        "model": {
            "modelName": "fraud",
            "serializedFile": "weights.bin",
            "handler": "handler.py",
            "modelVersion": "7",
            "extensions": {"a": [1]},
        },
        "archiverVersion": "0.12.0",
    }


def test_all_that_the_manifest_names_is_kept(mar: Any, archived: Any) -> None:
    named = {"modelFile": "net.py", "requirementsFile": "needs.txt", "configFile": "settings.yaml"}
    files = {"handler.py": HANDLER, "net.py": b"", "needs.txt": b"numpy", "settings.yaml": b"minWorkers: 2\n"}
    found = mar({"m.mar": archived(files, handler="handler.py:handle", **named)}, MAR)
    assert found.model == {"handler": "handler.py:handle", **named}


@pytest.mark.parametrize(
    "handler", ["handler", "handler.py", "handler:handle", "code/handler.py:handle", "text_classifier"]
)
def test_a_handler_is_found_where_torchserve_finds_it(handler: str, mar: Any, archived: Any) -> None:
    files = {"code/handler.py" if "/" in handler else "handler.py": HANDLER}
    assert mar({"m.mar": archived(files, handler=handler)}, MAR).model["handler"] == handler


def test_model_yaml_names_the_handler_before_the_archive_does(mar: Any, archived: Any) -> None:
    ready = archived({"handler.py": HANDLER}, handler="handler.py")
    assert mar({"m.mar": ready}, MAR, handler="image_classifier").model["handler"] == "image_classifier"


def test_what_lies_beside_it_stays_out(mar: Any, archived: Any) -> None:
    ready = archived({"handler.py": HANDLER}, handler="handler.py")
    found = mar({"requirements.txt": b"x", "m.mar": ready, "code/inference.py": b"x"}, MAR, root="m.mar")
    assert found.paths == ["handler.py", MANIFEST]


def test_a_signature_is_read_beside_it_or_in_it(mar: Any, archived: Any) -> None:
    ready = archived({"handler.py": HANDLER, "sample.json": b'{"instances": [1]}'}, handler="handler.py")
    assert mar({"m.mar": ready}, MAR).signature.sample == {"instances": [1]}
    assert mar({"sample.json": b"[2]", "m.mar": ready}, MAR, root="m.mar").signature.sample == [2]


def test_one_of_sluices_own_comes_through(mar: Any) -> None:
    first = mar({"model.pt": WEIGHTS, "code/inference.py": b"def predict_fn(d, m): 0", "model-config.yaml": b"a: 1"})
    again = mar({"m.mar": first.data}, MAR)
    assert again.data == first.data


@pytest.mark.parametrize("step", [1000, 65_537])
def test_it_does_not_depend_on_how_the_bytes_come(step: int, mar: Any, archived: Any) -> None:
    ready = archived(FILES, handler="handler.py")
    assert mar({"m.mar": ready}, MAR, step=step).data == mar({"m.mar": ready}, MAR).data


def test_how_it_was_compressed_makes_no_difference(mar: Any, archived: Any) -> None:
    deflated, stored = (
        archived(FILES, how, handler="handler.py") for how in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)
    )
    assert mar({"m.mar": deflated}, MAR).data == mar({"m.mar": stored}, MAR).data


def raw(manifest: bytes | None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("handler.py", HANDLER)
        if manifest is not None:
            archive.writestr(MANIFEST, manifest)
    return out.getvalue()


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b'{"runtime": "python"}',
        b'{"runtime": "LSP", "model": {"handler": "handler.py"}}',
        b'{"runtime": "python", "model": {}}',
        b'{"runtime": "python", "model": {"handler": ""}}',
        b'{"runtime": "python", "model": {"handler": ["handler.py"]}}',
        b'{"runtime": "python", "model": {"handler": "handler.py", "configFile": "handler.py"}}',
        b" " * (2 << 20),
        b"[" * 100_000,
    ],
    ids=range(14),
)
def test_a_manifest_that_is_none_is_told(manifest: bytes | None, mar: Any) -> None:
    with pytest.raises(InvalidInput, match=r"MANIFEST|handler\.py is no small YAML") as caught:
        mar({"m.mar": raw(manifest)}, MAR)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("field", ["serializedFile", "modelFile", "requirementsFile", "configFile", "handler"])
def test_a_manifest_that_names_what_is_not_there_is_refused(field: str, mar: Any, archived: Any) -> None:
    model = {"handler": "handler.py", field: "gone.py"}
    with pytest.raises(Refused, match=rf"names 'gone\.py' as {field}"):
        mar({"m.mar": archived({"handler.py": HANDLER}, **model)}, MAR)


def test_settings_that_would_run_code_in_the_server_are_refused(mar: Any, archived: Any) -> None:
    files = {"handler.py": HANDLER, "c.yaml": b"!!javax.script.ScriptEngineManager []"}
    with pytest.raises(InvalidInput, match=r"c\.yaml"):
        mar({"m.mar": archived(files, handler="handler.py", configFile="c.yaml")}, MAR)


@pytest.mark.parametrize("path", ["../x", "/x", "a\\b", "mar-inf/manifest.json"])
def test_a_hostile_path_in_it_is_refused(path: str, mar: Any, archived: Any) -> None:
    with pytest.raises(Refused):
        mar({"m.mar": archived({"handler.py": HANDLER, path: b""}, handler="handler.py")}, MAR)


def test_its_limits_are_the_users(mar: Any, archived: Any) -> None:
    ready = archived({"handler.py": HANDLER, "weights.bin": bytes(65 * MIB)}, handler="handler.py")
    with pytest.raises(Refused, match="grows more than 200 times"):
        mar({"m.mar": ready}, MAR)
    assert len(mar({"m.mar": ready}, MAR, limits=Limits(ratio=2000)).paths) == 3
    with pytest.raises(Refused, match="more than 1048576 bytes"):
        mar({"m.mar": ready}, MAR, limits=Limits(ratio=2000, size=MIB))


@given(at=st.integers(0, 2000), piece=st.binary(min_size=1, max_size=20))
@settings(max_examples=200)
def test_a_damaged_one_is_told_in_one_sentence(at: int, piece: bytes, mar: Any, archived: Any) -> None:
    ready = bytearray(archived({"handler.py": HANDLER, "c.yaml": b"a: 1"}, handler="handler.py", configFile="c.yaml"))
    at %= len(ready)
    ready[at : at + len(piece)] = piece
    try:
        found = mar({"m.mar": bytes(ready)}, MAR)
    except (InvalidInput, Refused) as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert json.loads(found.files[MANIFEST])["model"]["modelName"] == "m"
