"""What the SBOM of an image says, and that it is always the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.image.images import Reference
from pipelines.supply.purls import image_purl, read_requirement
from pipelines.supply.sbom import serial_number
from registry.facts import Delivery


def told(world: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.bill)
    return found


def part(bill: Mapping[str, Any], ref: str) -> dict[str, Any]:
    (found,) = [one for one in bill["components"] if one["bom-ref"] == ref]
    return dict(found)


def properties(component: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"].removeprefix("sluice:"): one["value"] for one in component.get("properties", ())}


def test_it_follows_the_published_schema(world: Any) -> None:
    pytest.importorskip("jsonschema", reason="Install jsonschema to hold SBOMs to CycloneDX's schema.")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(world.bill.decode()) is None
    broken = world.bill.replace(b'"machine-learning-model"', b'"machine"')
    assert validator.validate_str(broken.decode()) is not None


def test_it_is_about_the_image(world: Any) -> None:
    bill, image = told(world), world.known.reference
    about = bill["metadata"]["component"]
    assert (about["type"], about["name"], about["version"]) == ("container", image.repository, image.digest)
    assert about["hashes"] == [{"alg": "SHA-256", "content": image.digest.removeprefix("sha256:")}]
    assert about["purl"] == f"pkg:oci/fraud@{image.digest}?arch=amd64&repository_url=oci.local/fraud"
    assert bill["serialNumber"] == serial_number(image.digest)
    assert bill["metadata"]["timestamp"] == "2026-11-20T12:30:00+00:00"


def test_every_file_of_the_artifact_is_in_the_model(world: Any, kit: Any) -> None:
    model = part(told(world), "model")
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "fraud", "1")
    files = {one["name"]: one["hashes"][0]["content"] for one in model["components"]}
    assert files == {file.path: file.sha256.removeprefix("sha256:") for file in world.known.artifact.files}
    assert set(files) == set(kit.FILES)
    known = properties(model)
    assert known["training.job"] == kit.ARN
    assert known["git.commit"] == kit.COMMIT
    assert known["source.uri"] == "s3://training/output/fraud-2026-11/model.tar.gz"
    assert known["source"] == world.known.artifact.source


def test_the_base_is_in_it_by_its_digest(world: Any) -> None:
    base = part(told(world), "base")
    assert (base["type"], base["version"]) == ("container", world.known.image.base)


def test_a_volume_has_no_base_in_it_but_says_what_mounts_it(new_world: Any, kit: Any, tmp_path: Any) -> None:
    images = kit.images_of_tests
    base = images.InRegistry(images.make_base(tmp_path / "server"))
    world = new_world(delivery=Delivery.VOLUME, base=base)
    bill = told(world)
    assert "base" not in {one["bom-ref"] for one in bill["components"]}
    assert properties(bill["metadata"]["component"])["server"] == str(base.reference)
    assert bill["dependencies"][0] == {"dependsOn": ["model"], "ref": "image"}


def test_requirements_have_a_version_where_one_is_pinned(world: Any) -> None:
    libraries = {one["name"]: one for one in told(world)["components"] if one["type"] == "library"}
    assert libraries["numpy"]["purl"] == "pkg:pypi/numpy@2.1.0"
    assert libraries["numpy"]["version"] == "2.1.0"
    assert "version" not in libraries["scipy"]
    assert properties(libraries["scipy"]) == {"requirement": "scipy>=1.11"}
    assert len(libraries) == 2


def test_requirements_that_cannot_be_read_are_told_and_stop_nothing(new_world: Any, kit: Any) -> None:
    world = new_world(files={**kit.FILES, "requirements.txt": b"-r /etc/passwd\n"})
    bill = told(world)
    assert "is not taken here" in properties(part(bill, "model"))["requirements.trouble"]
    assert not [one for one in bill["components"] if one["type"] == "library"]


SCRIPT = """
import importlib.util, sys, pathlib
from pipelines.image.layout import LayoutDestination
spec = importlib.util.spec_from_file_location("kit", sys.argv[1])
kit = importlib.util.module_from_spec(spec); sys.modules["kit"] = kit; spec.loader.exec_module(kit)
folder = pathlib.Path(sys.argv[2])
world = kit.make_world(folder, LayoutDestination(folder / "images"))
from pipelines.supply.provenance import provenance
from pipelines.supply.reading import digest_of
sys.stdout.write(digest_of(world.bill) + " " + digest_of(provenance(world.subject, digest_of(b"")).to_bytes()))
"""


@pytest.mark.slow
def test_another_process_in_another_zone_makes_the_same_bytes(world: Any, kit: Any, tmp_path: Any) -> None:
    made = []
    for zone, seed in (("UTC", "1"), ("Asia/Kathmandu", "2")):
        folder = tmp_path / seed
        folder.mkdir()
        command = [sys.executable, "-c", SCRIPT, kit.__file__, str(folder)]
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        made.append(done.stdout)
    assert made[0] == made[1]
    assert made[0].startswith("sha256:")


@pytest.mark.parametrize(
    ("line", "name", "version"),
    [
        ("numpy==2.1.0", "numpy", "2.1.0"),
        ("numpy ==2.1.0 ; python_version > '3.10'", "numpy", "2.1.0"),
        ("numpy===2.1.0", "numpy", "2.1.0"),
        ("numpy (==2.1.0)", "numpy", "2.1.0"),
        ("torch[extra,more]==2.13.0+cpu", "torch", "2.13.0+cpu"),
        ("numpy==2.1.0 --hash=sha256:" + "0" * 64, "numpy", "2.1.0"),
        ("numpy==2.*", "numpy", None),
        ("numpy>=2", "numpy", None),
        ("numpy==2,<3", "numpy", None),
        ("numpy", "numpy", None),
        ("numpy @ https://example.org/numpy.whl", "numpy", None),
        ("https://example.org/numpy.whl", "https://example.org/numpy.whl", None),
        ("git+https://example.org/numpy@v1", "git+https://example.org/numpy@v1", None),
    ],
)
def test_lines_of_requirements(line: str, name: str, version: str | None) -> None:
    found = read_requirement(line)
    assert found is not None
    assert (found.name, found.version) == (name, version)
    assert (found.package is None) == ("/" in line)


@pytest.mark.parametrize("line", ["--pre", "-i https://example.org", "--extra-index-url https://example.org"])
def test_options_are_no_requirements(line: str) -> None:
    assert read_requirement(line) is None


@given(st.text(max_size=300))
def test_any_line_is_read(line: str) -> None:
    found = read_requirement(line)
    if found is not None:
        assert found.version is None or found.version in line


@pytest.mark.parametrize(
    "line", ["a" + " " * 200_000 + "!", "a[" * 100_000, "a==" + "1" * 200_000 + " " * 50_000 + "!"]
)
def test_a_long_line_costs_no_more_than_its_length(line: str) -> None:
    assert read_requirement(line) is not None  # it would not end in this life, were it quadratic


def test_names_of_images() -> None:
    digest = "sha256:" + "0" * 64
    named = Reference("127.0.0.1:5000/Team/fraud", digest)
    assert image_purl(named, "linux/arm64/v8").startswith(f"pkg:oci/fraud@{digest}?arch=arm64&repository_url=")
    assert image_purl(Reference("torchserve", digest)) == f"pkg:oci/torchserve@{digest}"


def test_many_files_make_an_sbom_too(new_world: Callable[..., Any], kit: Any) -> None:
    many = {**kit.FILES, **{f"extra/{number:05}.bin": b"" for number in range(500)}}
    model = part(told(new_world(files=many)), "model")
    assert len(model["components"]) == len(many)
