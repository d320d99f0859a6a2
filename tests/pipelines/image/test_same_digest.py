"""Same inputs, same digest: in any process, on any machine, with any Python; and after any kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.image.compression import Compression
from pipelines.image.layout import LayoutDestination
from registry.facts import Delivery

ROOT = Path(__file__).parents[3]
KIT = f"""
import importlib.util, json, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("kit", {str(Path(__file__).with_name("conftest.py"))!r})
kit = sys.modules["kit"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kit)
work = Path(sys.argv[1])
"""
SHAPES = [(delivery, compression) for delivery in Delivery for compression in Compression]
BUILDS = (
    KIT
    + """
from pipelines.image.compression import Compression
from registry.facts import Delivery

os.umask(int(sys.argv[2]))
base = kit.InRegistry(kit.make_base(work / "bases"))
(work / "blobs").mkdir()
model, images = kit.make_model(work / "blobs"), kit.LayoutDestination(work / "images")
for delivery, compression in json.loads(sys.argv[3]):
    built = model.build(
        base,
        images,
        kit.FolderRecipes(work / "recipes"),
        delivery=Delivery(delivery),
        compression=Compression(compression),
        labels=dict(reversed(kit.LABELS.items())),
    )
    print(built.reference)
"""
)
PLACES: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "another seed": (0o022, {"PYTHONHASHSEED": "4711"}),
    "another zone": (0o022, {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"}),
    "another locale": (0o022, {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONHASHSEED": "2"}),
    "another mask": (0o077, {"PYTHONHASHSEED": "3", "PYTHONOPTIMIZE": "2"}),
}


@pytest.mark.parametrize(("mask", "environment"), PLACES.values(), ids=PLACES.keys())
def test_another_process_builds_the_same(
    mask: int, environment: Mapping[str, str], kit: Any, model: Any, base: Any, recipes: Any, tmp_path: Path
) -> None:
    one, images = model(), LayoutDestination(tmp_path / "images")
    here = [
        str(one.build(kit.InRegistry(base), images, recipes, delivery=delivery, compression=compression).reference)
        for delivery, compression in SHAPES
    ]
    assert len(set(here)) == len(SHAPES)
    (tmp_path / "there").mkdir()
    command = [sys.executable, "-c", BUILDS, str(tmp_path / "there"), str(mask), json.dumps(SHAPES)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )
    assert (run.stdout.split(), run.stderr) == (here, "")


PURE = """
import sys
if sys.version_info < (3, 11):
    sys.exit()
sys.path.insert(0, sys.argv[1])
from hashlib import sha256
from typing import NamedTuple
from pipelines.image.canonical import canonical
from pipelines.image.compression import Compression, compressed
from pipelines.tarout import tar_size, write_tar

class Member(NamedTuple):
    path: str
    size: int
    chunks: object

paths = ["a", "folder/ü", "x" * 99, "x" * 100, "y/" * 60 + "z", "ä" * 120, "n/" + "l" * 200]
for compression in (Compression.NONE, Compression.GZIP):
    members = [Member(path, 70_000, iter((bytes([7]) * 70_000,))) for path in paths]
    tar = write_tar(members, folders=["srv", "srv/ö" * 30], owner=1000)
    print(sha256(b"".join(compressed(tar, compression))).hexdigest())
print(sha256(next(write_tar([Member("large", 9 << 30, iter(()))]))).hexdigest())
print(tar_size([("large", 9 << 30), *((path, 1) for path in paths)]))
print(sha256(canonical({"b": [1, 2.5, None, True, "ü\\u2028", 10**20], "a": {"z": 1e-7, "y": -0.0}})).hexdigest())
print("%d.%d.%d" % sys.version_info[:3], file=sys.stderr)
"""


def interpreters() -> list[str]:
    """Every Python that is found on this machine, this one first."""
    named = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
    installed = sorted(str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    return [sys.executable, *(path for path in named if path), *installed]


def test_every_python_makes_the_same_bytes() -> None:
    told: dict[str, str] = {}
    for python in interpreters():
        command = [python, "-I", "-S", "-c", PURE, str(ROOT)]  # without what is installed beside it
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if run.returncode == 0 and run.stdout:
            told[run.stderr.strip()] = run.stdout
    assert told
    if len({version.rpartition(".")[0] for version in told}) == 1:
        pytest.skip("Install another release of Python, 3.11 or newer, to see that it makes the same bytes.")
    assert len(set(told.values())) == 1, told


KILLS = (
    KIT
    + """
from tests.pipelines.killing import kill

base, model = kit.LayoutImage(work / "bases/server"), kit.Model(
    kit.BuildRequest.model_validate_json(sys.argv[2]), kit.TarPackager(), kit.FolderBlobs(work / "blobs")
)

def build(name):
    images = kit.LayoutDestination(work / name / "images")
    built = model.build(base, images, kit.FolderRecipes(work / name / "recipes"))
    images.tag("fraud", "v7", built.reference.digest)

print(kill(build, json.loads(sys.argv[3])))
"""
)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks, by path."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (".lock", ".scratch"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_build_that_is_killed_anywhere_and_run_again_ends_the_same(
    kit: Any, model: Any, base: Any, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    points = [random.Random(seed + number).random() for number in range(40)]
    one = model()
    command = [sys.executable, "-c", KILLS, str(tmp_path), one.request.model_dump_json(), json.dumps(points)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > len(points) // 2
    clean = files_of(tmp_path / "whole" / "images")
    assert "fraud/index.json" in clean
    half_done = 0
    for number, point in enumerate(points):
        place = tmp_path / f"killed-{number}"
        left = files_of(place / "images") if place.exists() else {}
        for path, data in left.items():
            if "/blobs/" in path:
                assert kit.digest_of(data) == f"sha256:{Path(path).name}", (seed, point)
        assert left.get("fraud/index.json") in (None, clean["fraud/index.json"]), (seed, point)
        half_done += 0 < len(left) < len(clean)
        images = LayoutDestination(place / "images")
        built = one.build(base, images, kit.FolderRecipes(place / "recipes"))
        images.tag("fraud", "v7", built.reference.digest)
        assert files_of(place / "images") == clean, (seed, point)
    assert half_done


MEMORY = (
    KIT
    + """
from hashlib import sha256
from pipelines.image.compression import Compression
from tests.pipelines.memory import high_water

shards, size = 4, int(sys.argv[2])
block = os.urandom(1 << 20)

class Endless(kit.FolderBlobs):
    def open(self, digest):
        return (work / "artifact").open("rb")

with (work / "artifact").open("wb") as file:
    members = (kit.Member(f"w{n}", size, (block for _ in range(size >> 20))) for n in range(shards))
    for chunk in kit.write_tar(members):
        file.write(chunk)
hashed = sha256()
for _ in range(size >> 20):
    hashed.update(block)
facts = tuple(
    kit.FileFact(path=f"w{n}", size=size, sha256="sha256:" + hashed.hexdigest()) for n in range(shards)
)
artifact = kit.Artifact(
    type="saved-model", source="sha256:" + "1" * 64, blob="sha256:" + "2" * 64, size=1, files=facts
)
request = kit.BuildRequest(
    ref=kit.VersionRef.parse("fraud@7"),
    artifact=artifact,
    created=kit.CREATED,
    labels={},
    own_layer_from=1,
    compression=Compression(sys.argv[3]),
)
base = kit.make_base(work / "bases")
model = kit.Model(request, kit.TarPackager(), Endless(work))
model.build(base, kit.LayoutDestination(work / "images"), kit.FolderRecipes(work / "recipes"))
print(high_water() >> 10)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("compression", Compression)
def test_memory_does_not_grow_with_the_model(compression: Compression, tmp_path: Path) -> None:
    peaks = []
    for size in (16, 64):  # MiB of each of four shards
        work = tmp_path / str(size)
        work.mkdir()
        command = [sys.executable, "-c", MEMORY, str(work), str(size << 20), compression.value]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
        assert run.returncode == 0, run.stderr
        peaks.append(int(run.stdout))
        shutil.rmtree(work)
    small, large = peaks
    assert large < small + 24, f"{small} MiB for 64 MiB, {large} MiB for 256 MiB"
