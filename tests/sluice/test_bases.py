"""Base images as the settings name them, with what a model needs beyond them. A script stands in for buildah."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gitops.config import Model
from gitops.release import Runtime
from pipelines.image.layout import LayoutImage
from registry.facts import Artifact, Source
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage
from sluice.demo.base import make_bases
from sluice.settings import load
from sluice.wiring import Wiring

DIGEST = "sha256:" + "0" * 64
BUILDAH = f"""\
#!{sys.executable}
import json, pathlib, shutil, sys
words = sys.argv[1:]
options = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
if words[0] == "build":
    base = pathlib.Path(options["file"]).read_text().split("FROM ", 1)[1].split()[0]
    pathlib.Path(options["iidfile"]).write_text(base)
elif words[0] == "push":
    base, target = words[-2].split(":")[1], words[-1].split(":")
    shutil.copytree(base, target[1], dirs_exist_ok=True)
    index = pathlib.Path(target[1], "index.json")
    told = json.loads(index.read_text())
    told["manifests"][0]["annotations"] = {{"org.opencontainers.image.ref.name": target[2]}}
    index.write_text(json.dumps(told))
    pathlib.Path(options["digestfile"]).write_text(told["manifests"][0]["digest"])
"""


@pytest.mark.parametrize(
    ("place", "shelf"), [({"images": "pushed"}, "pushed-bases"), ({"registry": "oci:given"}, "given-bases")]
)
def test_what_extends_a_base_writes_beside_a_folder_of_images_and_is_found_there(
    place: dict[str, str], shelf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "buildah").write_text(BUILDAH)
    (tmp_path / "buildah").chmod(0o755)
    named = make_bases(tmp_path / "bases")[Runtime.TRITON]
    tool = {"tool": "buildah", "command": [str(tmp_path / "buildah")]}
    settings = load(bases={Runtime.TRITON: named}, buildkit=tool, **place)
    storage = Storage.memory()
    registry = Registry(storage)
    ref = VersionRef(model="fraud", number=1)
    registry.register("fraud", Source(uri="s3://training/fraud/model.tar.gz", size=1), actor="tests")
    blob = storage.blobs.put([b"model"], what="", progress=Silent())
    registry.record(ref, Artifact(type="triton", source=DIGEST, blob=blob.digest, size=blob.size, files=()))
    wanted = Model.model_validate({"name": "fraud", "image": {"systemPackages": ["libgomp1"]}})
    wiring = Wiring(settings)
    wiring.__dict__["storage"] = storage
    for _ in range(2):
        base = wiring.bases.extended(ref, wanted, registry, Silent())(Runtime.TRITON)
        assert base.manifest() == LayoutImage.parse(named).manifest()
        (tmp_path / "buildah").unlink(missing_ok=True)  # not asked again
    (index,) = (tmp_path / shelf).glob("fraud/index.json")
    assert "base-" in json.loads(index.read_text())["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
    assert not (tmp_path / shelf.removesuffix("-bases")).exists()
