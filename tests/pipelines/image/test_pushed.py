"""Images in a real registry: how little is asked and sent, what skopeo makes of them, and builds that are killed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipelines.image.compression import Compression
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.oci import Descriptor
from pipelines.image.remote.places import open_destination, open_image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def place(logged_registry: Any) -> str:
    """Where nothing was pushed yet."""
    return f"{logged_registry.host}/p{uuid4().hex[:12]}"


@pytest.fixture
def remote_base(place: str, base: LayoutImage) -> Any:
    """The base, in the same registry."""
    bases = open_destination(f"{place}/bases")
    manifest = json.loads(base.manifest())
    for item in (manifest["config"], *manifest["layers"]):
        bases.put("server", base.content(Descriptor.model_validate(item)))
    digest = bases.push("server", base.manifest()).digest
    bases.tag("server", "v1", digest)
    return open_image(f"{place}/bases/server:v1")


@pytest.fixture
def asked(logged_registry: Any) -> Callable[[], list[str]]:
    """The requests since this was called last."""
    seen = 0

    def since() -> list[str]:
        nonlocal seen
        told = logged_registry.requests()
        seen, found = len(told), told[seen:]
        return found

    return since


@pytest.mark.parametrize("compression", Compression)
def test_the_same_image_is_pushed_as_written_to_a_folder_and_skopeo_copies_it(
    compression: Compression, place: str, kit: Any, model: Any, base: LayoutImage, recipes: Any, tmp_path: Path
) -> None:
    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("Put skopeo on PATH to see that another program pulls the images.")
    one = model()
    folder = one.build(base, LayoutDestination(tmp_path / "images"), recipes, compression=compression)
    destination = open_destination(place)
    pushed = one.build(base, destination, recipes, compression=compression)
    assert pushed.reference.digest == folder.reference.digest
    assert str(pushed.reference) == f"{place}/fraud@{folder.reference.digest}"
    destination.tag("fraud", "v7", pushed.reference.digest)
    run = [skopeo, "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--preserve-digests"]
    subprocess.run([*run, f"docker://{place}/fraud:v7", f"oci:{tmp_path}/pulled:v7"], capture_output=True, check=True)
    here, there = (
        kit.Read(tmp_path / "images/fraud", folder.reference.digest),
        kit.Read(tmp_path / "pulled", folder.reference.digest),
    )
    assert (here.manifest, here.config, here.layers) == (there.manifest, there.config, there.layers)


def test_a_base_in_the_same_registry_is_mounted(
    place: str, model: Any, remote_base: Any, recipes: Any, asked: Callable[[], list[str]]
) -> None:
    asked()
    model().build(remote_base, open_destination(place), recipes)
    sent = [line for line in asked() if line.startswith(("POST", "PATCH", "PUT")) and "/blobs/" in line]
    mounts = [line for line in sent if "mount=" in line]
    assert len(mounts) == 2
    # four layers and a config, each in one session of its own
    assert len([line for line in sent if line.startswith("POST")]) - len(mounts) == 5


def test_a_second_build_asks_little_and_sends_no_blob(
    place: str, model: Any, remote_base: Any, recipes: Any, asked: Callable[[], list[str]]
) -> None:
    first = model().build(remote_base, open_destination(place), recipes)
    asked()
    again = model().build(open_image(f"{place}/bases/server:v1"), open_destination(place), recipes)
    requests = asked()
    assert again == first
    assert len(requests) <= 10, requests
    assert not [line for line in requests if not line.startswith(("GET", "HEAD"))], requests
    assert not [line for line in requests if "/fraud/blobs/" in line], requests


def test_of_a_changed_handler_little_is_sent(
    place: str, kit: Any, model: Any, remote_base: Any, recipes: Any, asked: Callable[[], list[str]]
) -> None:
    destination = kit.Recording(open_destination(place))
    model().build(remote_base, destination, recipes)
    destination.calls.clear()
    asked()
    model({**kit.FILES, "code/handler.py": b"def handle(): return 1\n"}).build(remote_base, destination, recipes)
    sessions = [line for line in asked() if line.startswith("POST")]
    assert len(sessions) <= 3, sessions  # the layer of code, the configuration's where it is not known, the config


KILLS = f"""
import importlib.util, json, sys
from pathlib import Path
import httpx  # once, and not in each child
spec = importlib.util.spec_from_file_location("kit", {str(Path(__file__).with_name("conftest.py"))!r})
kit = sys.modules["kit"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kit)
from pipelines.image.remote.places import open_destination
from tests.pipelines.killing import kill
work, place = Path(sys.argv[1]), sys.argv[2]
base, model = kit.LayoutImage(work / "bases/server"), kit.Model(
    kit.BuildRequest.model_validate_json(sys.argv[3]), kit.TarPackager(), kit.FolderBlobs(work / "blobs")
)

def push(name):
    images = open_destination(f"{{place}}/{{name}}")
    built = model.build(base, images, kit.FolderRecipes(work / name))
    images.tag("fraud", "v7", built.reference.digest)

print(kill(push, json.loads(sys.argv[4])))
"""


def test_a_push_that_is_killed_anywhere_and_run_again_ends_the_same(
    place: str, kit: Any, model: Any, base: LayoutImage, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    points = [random.Random(seed + number).random() for number in range(30)]
    one = model()
    command = [sys.executable, "-c", KILLS, str(tmp_path), place, one.request.model_dump_json(), json.dumps(points)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > len(points) // 2
    whole = open_destination(f"{place}/whole").tagged("fraud", "v7")
    assert whole is not None
    for number in range(len(points)):
        destination = open_destination(f"{place}/killed-{number}")
        assert destination.tagged("fraud", "v7") in (None, whole), seed
        built = one.build(base, destination, kit.FolderRecipes(tmp_path / f"killed-{number}"))
        assert built.reference.digest == whole, seed
        destination.tag("fraud", "v7", whole)
        manifest = json.loads(destination.manifest("fraud", whole))
        for item in (manifest["config"], *manifest["layers"]):
            content = destination.content("fraud", Descriptor.model_validate(item))
            assert kit.digest_of(b"".join(content.chunks())) == item["digest"]
