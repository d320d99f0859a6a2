"""A base really extended, by buildah: built, pushed, found again, built upon."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gitops.config import ImageSettings
from pipelines.buildkit.buildctl import Buildctl
from pipelines.buildkit.dockerfile import dockerfile
from pipelines.buildkit.needs import Needs
from pipelines.buildkit.tool import BaseBuilder, Extension, Logins
from pipelines.image.assembly import BuildRequest
from pipelines.image.bases import check_base, parse_base
from pipelines.image.builder import Builder
from pipelines.image.images import BaseImage
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.recipes import StoredBases, StoredRecipes
from pipelines.image.remote.credentials import DockerConfig, Login
from pipelines.image.remote.places import open_destination, open_image
from pipelines.packagers import packager_of
from pipelines.steps.extend import ExtendInput, Shelf, base_for
from registry.errors import InvalidInput, SluiceError
from registry.memory import MemoryStore
from registry.progress import Progress, Silent

pytestmark = pytest.mark.slow

SETTINGS = ImageSettings(
    systemPackages=("libsndfile1", "libgomp1=12.2.0-14"),
    pythonPackages=("scipy>=1.11", "numpy==1.26.4; python_version < '3.13'"),
    dockerfile="ENV MODE=fast\nRUN echo own > /var/lib/own && \\\n    id -u >> /var/lib/own\nUSER 5",
)


class Counting:
    """A builder that counts."""

    def __init__(self, inner: BaseBuilder) -> None:
        self._inner, self.built = inner, []

    built: list[str]

    def build(self, wanted: Extension, logins: Logins, progress: Progress) -> str:
        self.built.append(wanted.target)
        return self._inner.build(wanted, logins, progress)


def extended(
    digits: Any,
    base: Any,
    served: Any,
    builder: BaseBuilder,
    said: Any,
    settings: ImageSettings = SETTINGS,
    **more: Any,
) -> Any:
    repository = more.pop("repository", "sluice/digits")
    shelf = Shelf(
        repository=f"{served.host}/{repository}",
        bases=served.bases,
        open_image=lambda digest: served.image(repository, digest),
        prepare=lambda: None,
    )
    wanted = ExtendInput(ref=digits.ref, image=settings)
    logins = more.pop("logins", lambda _: None)
    return base_for(wanted, digits.artifact, base, digits.blobs(), shelf, builder, logins, said)


def files(image: Any) -> dict[str, bytes]:
    """What the image's layers above the base hold, by path."""
    found: dict[str, bytes] = {}
    for layer in image.layers()[1:]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as tar:
            for member in tar:
                assert member.mtime == 315_532_800, member.name
                file = tar.extractfile(member) if member.isreg() else None
                found[member.name] = file.read() if file else b""
    return found


def test_a_base_is_extended_once_and_found_again(digits: Any, base: Any, served: Any, tool: Any, said: Any) -> None:
    builder = Counting(tool.builder)
    image = extended(digits, base, served, builder, said)
    (target,) = builder.built
    tag = target.rpartition(":")[2]
    assert tag.startswith("base-")
    assert served.tagged("sluice/digits", tag) == image.digest
    config = image.config()
    assert config["config"]["User"] == "1000:1000"
    assert config["config"]["Labels"]["dev.sluicegate.base.recipe"] == tag.removeprefix("base-")
    assert "MODE=fast" in config["config"]["Env"]
    assert json.loads(image.manifest())["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert "io.buildah.version" not in set(config["config"]["Labels"]) - set(
        base.config()["config"].get("Labels") or {}
    )
    check_base(parse_base(image.manifest()), json.dumps(config).encode())  # the builder can build upon it
    assert config["rootfs"]["diff_ids"][:1] == base.config()["rootfs"]["diff_ids"]

    found = files(image)
    assert found["var/lib/asked"].decode() == (
        "apt-get update (as 0)\n"
        "apt-get install --yes --no-install-recommends libgomp1=12.2.0-14 libsndfile1 (as 0)\n"
        "python3 -m pip install --no-input --no-compile --cache-dir=/root/.cache/pip"
        " --requirement=/run/sluice/packages.txt (as 0)\n"
        "numpy==1.26.4; python_version < '3.13'\n"
        "scipy>=1.11\n"
    )
    assert found["var/lib/own"] == b"own\n0\n"
    assert not any("packages.txt" in path or "config.json" in path for path in found)

    again = extended(digits, base, served, builder, Silent())
    assert again.digest == image.digest
    assert len(builder.built) == 1
    assert any("[" not in fact and "RUN" in fact for fact in said.facts)
    assert said.facts[0] == "base of digits: adding system packages, Python packages, its own Dockerfile instructions"

    changed = extended(digits, base, served, builder, Silent(), SETTINGS.model_copy(update={"dockerfile": "ENV A=b"}))
    assert changed.digest != image.digest
    assert len(builder.built) == 2


def test_what_needs_nothing_keeps_its_base(digits: Any, base: Any, served: Any, said: Any) -> None:
    assert extended(digits, base, served, Buildctl(("no-such-tool",)), said, ImageSettings()) is base
    assert said.facts == []


def test_two_builders_at_once_use_one_image(digits: Any, base: Any, served: Any, tool: Any) -> None:
    settings = ImageSettings(dockerfile="RUN head -c 16 /dev/urandom > /var/lib/unlike")
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(extended, digits, base, served, tool.builder, Silent(), settings, repository="sluice/both")
            for _ in range(2)
        ]
        images = [job.result() for job in jobs]
    last = extended(digits, base, served, Buildctl(("no-such-tool",)), Silent(), settings, repository="sluice/both")
    assert {last.digest} == {image.digest for image in images}
    assert files(last)["var/lib/unlike"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (ImageSettings(dockerfile="RUN echo 'ERROR: no such thing' && exit 7"), "ERROR: no such thing$"),
        (ImageSettings(dockerfile="RUN no-such-command"), "no-such-command"),
        (ImageSettings(dockerfile="COPY --from=127.0.0.1:1/x/y /a /b"), "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_added_is_told_and_leaves_nothing(
    settings: ImageSettings, told: str, digits: Any, base: Any, served: Any, tool: Any
) -> None:
    builder = Counting(tool.builder)
    with pytest.raises(SluiceError, match=f"^The model needs its own Dockerfile instructions, which buildah .*{told}"):
        extended(digits, base, served, builder, Silent(), settings)
    assert served.tagged("sluice/digits", builder.built[0].rpartition(":")[2]) is None


def test_a_registry_gets_the_credentials_and_the_image_does_not(
    digits: Any, base: Any, serve: Callable[..., Any], tool: Any, password: str
) -> None:
    guarded = serve(password)
    settings = ImageSettings(dockerfile="RUN env > /var/lib/env && ls -R /run > /var/lib/run")
    with pytest.raises(SluiceError, match=r"which buildah could not add to the base image: .*[Aa]uth"):
        extended(digits, base, guarded, tool.builder, Silent(), settings)

    def logins(host: str) -> Login | None:
        return Login("sluice", password) if host == guarded.host else None

    image = extended(digits, base, guarded, tool.builder, Silent(), settings, logins=logins)
    assert image.manifest()
    assert not any(password.encode() in data for data in (*files(image).values(), json.dumps(image.config()).encode()))


def test_a_base_in_a_folder_is_extended_into_a_folder(
    digits: Any, base_folder: Path, tool: Any, said: Any, tmp_path: Path
) -> None:
    destination = LayoutDestination(tmp_path)
    destination.folder("digits").mkdir()
    shelf = Shelf(
        repository=f"oci:{destination.folder('digits')}",
        bases=StoredBases(MemoryStore()),
        open_image=lambda digest: by_digest(destination, digest),
        prepare=lambda: None,
    )
    wanted = ExtendInput(ref=digits.ref, image=ImageSettings(systemPackages=("libgomp1",)))
    builder = Counting(tool.builder)

    def extend(folder: str = f"oci:{base_folder}:latest", builder: BaseBuilder = builder) -> BaseImage:
        base = LayoutImage(base_folder, "latest")
        return base_for(
            wanted, digits.artifact, base, digits.blobs(), shelf, builder, lambda _: None, said, folder=folder
        )

    with pytest.raises(InvalidInput, match="BuildKit reads bases from registries only"):
        extend(builder=Buildctl())
    with pytest.raises(InvalidInput, match="is in no registry"):
        extend(folder="")
    first = extend().manifest()
    assert extend().manifest() == first
    assert len(builder.built) == 1


def test_the_builder_appends_a_model_to_an_extended_base(digits: Any, base: Any, served: Any, tool: Any) -> None:
    destination = open_destination(f"{served.host}/built")
    repository = f"{served.host}/built/digits"
    shelf = Shelf(
        repository=repository,
        bases=StoredBases(MemoryStore()),
        open_image=lambda digest: open_image(f"{repository}@{digest}"),
        prepare=lambda: None,
    )
    wanted = ExtendInput(ref=digits.ref, image=ImageSettings(dockerfile="RUN echo more > /var/lib/more"))
    plain = open_image(str(base.reference))
    more = base_for(
        wanted, digits.artifact, plain, digits.blobs(), shelf, tool.builder, DockerConfig(Path("/none")).login, Silent()
    )
    request = BuildRequest(ref=digits.ref, artifact=digits.artifact, created="2026-11-20T12:30:00Z", labels={})
    builder = Builder(digits.blobs(), StoredRecipes(MemoryStore()), destination, Silent())
    built = builder.build(request, packager_of(digits.artifact), more)
    image = served.image("built/digits", built.reference.digest)
    below = json.loads(more.manifest())["layers"]
    assert [layer["digest"] for layer in json.loads(image.manifest())["layers"]][: len(below)] == [
        layer["digest"] for layer in below
    ]
    assert more.reference is not None
    assert built.base == more.reference.digest
    tool("pull", "--tls-verify=false", str(built.reference))  # which checks every layer
    container = tool("from", "--pull-never", str(built.reference)).strip()
    try:
        assert tool("run", container, "--", "cat", "/var/lib/more") == "more\n"
        listed = tool("run", container, "--", "find", "/srv/sluice", "-type", "f")
    finally:
        tool("rm", container)
    assert {f"/srv/sluice/model-store/digits/{file.path}" for file in digits.artifact.files} <= set(listed.split("\n"))


def by_digest(destination: LayoutDestination, digest: str) -> BaseImage:
    tags = json.loads((destination.folder("digits") / "index.json").read_bytes())["manifests"]
    (name,) = (item["annotations"]["org.opencontainers.image.ref.name"] for item in tags if item["digest"] == digest)
    return LayoutImage(destination.folder("digits"), name)


def test_every_kind_of_instruction_that_is_let_through_is_one_for_a_builder(
    base: Any, served: Any, tool: Any, tmp_path: Path
) -> None:
    text = (
        f"ARG A=b\nENV C=$A\nLABEL d=e\nCOPY --from={base.reference} /bin/busybox /copied\nWORKDIR /w\n"
        'SHELL ["/bin/busybox", "sh", "-c"]\nUSER 7\nRUN echo $C > /tmp/ran\n'
    )
    needs = Needs.of(ImageSettings(dockerfile=text))
    (tmp_path / "Dockerfile").write_bytes(dockerfile(needs, str(base.reference), "0" * 64, 1000))
    tool("build", "--tls-verify=false", f"--file={tmp_path}/Dockerfile", "--tag=localhost/all", str(tmp_path))
    told = json.loads(tool("inspect", "--type=image", "localhost/all"))["OCIv1"]["config"]
    assert (told["User"], told["WorkingDir"], told["Labels"]["d"]) == ("1000:1000", "/w", "e")


def test_buildah_leaves_nothing_of_ours_in_its_store(
    digits: Any, base: Any, served: Any, serve: Any, tool: Any
) -> None:
    def images() -> set[str]:
        return set(tool("images", "--all", "--quiet").split())

    extended(digits, base, served, tool.builder, Silent(), ImageSettings(dockerfile="ENV LEFT=before"))
    before = images()  # the base is among them, so that it is not pulled again
    extended(digits, base, served, tool.builder, Silent(), ImageSettings(dockerfile="ENV LEFT=nothing"))
    with pytest.raises(SluiceError):
        extended(digits, base, serve("only-for-tests"), tool.builder, Silent(), ImageSettings(dockerfile="ENV LEFT=it"))
    assert images() == before
    assert tool("containers", "--quiet") == ""
