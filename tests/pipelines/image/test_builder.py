"""Images: right by the OCI specification, made of no more than is needed, and refused where they could not be right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops.release import Runtime
from gitops.runtimes import RUNTIMES
from pipelines.image.assembly import FILES_LABEL, files_label
from pipelines.image.bases import parse_base
from pipelines.image.compression import Compression
from pipelines.image.content import Kept
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.oci import Descriptor
from registry.errors import NotFound, Refused, SluiceError
from registry.facts import Artifact, Delivery, FileFact

HERE = "org.opencontainers.image.base.digest"
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


@pytest.fixture
def images(tmp_path: Path) -> LayoutDestination:
    return LayoutDestination(tmp_path / "images")


@pytest.fixture
def read(kit: Any, images: LayoutDestination) -> Callable[[Any], Any]:
    """The image that a build pushed, as another program reads it."""
    return lambda built: kit.Read(images.folder("fraud"), built.reference.digest)


def test_an_image_is_right_by_the_specification(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any
) -> None:
    one = model()
    built = one.build(base, images, recipes)
    image = read(built)
    manifest, config = image.manifest, image.config
    on = {HERE: built.base}
    assert str(built.reference) == f"oci.local/fraud@{built.reference.digest}"
    assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, "application/vnd.oci.image.manifest.v1+json")
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar"}
    assert manifest["annotations"] == {**kit.LABELS, **on}
    assert config["rootfs"]["type"] == "layers"
    assert config["rootfs"]["diff_ids"] == [kit.digest_of(data) for data in image.layers]
    assert len([entry for entry in config["history"] if not entry.get("empty_layer")]) == len(image.layers)
    assert (config["architecture"], config["os"], config["created"]) == ("amd64", "linux", kit.CREATED)
    assert (built.platform, built.server) == ("linux/amd64", None)
    spec = RUNTIMES[Runtime.TORCHSERVE]
    assert config["config"] == {
        "Env": ["PATH=/usr/bin:/bin", "HOME=/root"],
        "Entrypoint": list(spec.command("fraud")),
        "User": "1000:1000",
        "WorkingDir": spec.working_dir,
        "Labels": {"kept": "yes", **kit.LABELS, **on, FILES_LABEL: files_label(one.request.artifact)},
    }
    sizes = [len(image.blob({"digest": built.reference.digest})), manifest["config"]["size"]]
    assert built.size == sum(sizes) + sum(layer["size"] for layer in manifest["layers"])


def test_the_base_lies_below_unchanged(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any
) -> None:
    built = model().build(base, images, recipes)
    raw, image = base.manifest(), read(built)
    layers = json.loads(raw)["layers"]
    assert built.base == kit.digest_of(raw)
    assert image.manifest["layers"][:2] == layers
    assert image.layers[0] == b"".join(base.content(Descriptor.model_validate(layers[0])).chunks())
    assert image.root()["etc/os-release"] == ("file", 0o644, 0, 0, b"ID=a\n")


def test_the_root_holds_the_model_and_its_configuration_for_the_servers_user(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any
) -> None:
    image = read(model().build(base, images, recipes))
    root = image.root(under=2)
    store = "srv/sluice/store/fraud"
    assert {path: entry[4] for path, entry in root.items() if entry[0] == "file"} == {
        **{f"{store}/{path}": data for path, data in kit.FILES.items()},
        "srv/sluice/config.properties": b"x=1\n",
        "srv/sluice/conf.d/more": b"y\n",
    }
    # /srv is the base's
    folders = {"srv/sluice", "srv/sluice/store", store, f"{store}/code", "srv/sluice/conf.d"}
    assert {path for path, entry in root.items() if entry[0] == "folder"} == folders
    assert {entry[:4] for entry in root.values()} == {("file", 0o644, 1000, 1000), ("folder", 0o755, 1000, 1000)}
    # the weights are in a layer of their own: a new handler moves none of them
    named = [
        [info.name.removeprefix("srv/sluice/") for info, _ in kit.entries(one) if info.isreg()] for one in image.layers
    ]
    assert named[2:] == [
        ["store/fraud/weights.bin"],
        ["store/fraud/names.txt"],
        ["store/fraud/code/handler.py", "store/fraud/code/empty.py"],
        ["conf.d/more", "config.properties"],
    ]


def test_a_base_is_kept_but_for_its_command_and_what_it_says_of_itself(
    kit: Any, model: Any, images: LayoutDestination, recipes: Any, read: Any, tmp_path: Path
) -> None:
    below = kit.make_base(
        tmp_path / "other",
        config={
            "architecture": "arm64",
            "os": "linux",
            "variant": "v8",
            "os.version": "1",
            "author": "somebody",
            "config": {
                "Cmd": ["sh"],
                "Env": ["HOME=/root", "A=old", "PATH=/bin"],
                "Labels": {"kept": "yes", "b": "old", "org.opencontainers.image.licenses": "MIT"},
                "ExposedPorts": {"80/tcp": {}},
                "User": "root",
            },
            "history": [{"created_by": "ADD"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "RUN"}],
        },
    )
    built = model(env={"A": "new", "B": "1"}).build(below, images, recipes)
    made = read(built).config
    assert (made["architecture"], made["variant"], made["author"], made["os.version"]) == (
        "arm64",
        "v8",
        "somebody",
        "1",
    )
    assert built.platform == "linux/arm64/v8"
    assert "Cmd" not in made["config"]
    assert made["config"]["ExposedPorts"] == {"80/tcp": {}}
    assert made["config"]["Env"] == ["HOME=/root", "PATH=/bin", "A=new", "B=1"]
    labels = made["config"]["Labels"]
    assert (labels["kept"], labels["b"]) == ("yes", kit.LABELS["b"])
    assert "org.opencontainers.image.licenses" not in labels
    told = [entry["created_by"] for entry in made["history"]]
    assert told[:3] == ["ADD", "ENV", "RUN"]
    assert told[3:] == [f"sluice: {why}" for why in ("weights", "weights", "code", "config")]
    assert {entry["created"] for entry in made["history"][3:]} == {kit.CREATED}


@pytest.mark.parametrize("history", [None, [], [{"created_by": "ADD"}], [{"empty_layer": True}] * 5])
def test_a_history_that_does_not_fit_the_layers_is_replaced(
    history: object, kit: Any, model: Any, images: LayoutDestination, recipes: Any, read: Any, tmp_path: Path
) -> None:
    below = kit.make_base(tmp_path / "other", config={**kit.BASE_CONFIG, "history": history})
    made = read(model().build(below, images, recipes)).config
    assert [entry.get("created_by") for entry in made["history"][:2]] == ["base image", "base image"]
    assert len(made["history"]) == len(made["rootfs"]["diff_ids"])


def test_a_base_that_docker_pushed_has_ocis_types_in_our_manifest(
    kit: Any, model: Any, images: LayoutDestination, recipes: Any, read: Any, tmp_path: Path
) -> None:
    below = kit.make_base(tmp_path / "docker", types=DOCKER)
    image = read(model().build(below, images, recipes))
    assert [layer["mediaType"] for layer in image.manifest["layers"][:2]] == [
        "application/vnd.oci.image.layer.v1.tar+gzip"
    ] * 2
    assert "docker" not in json.dumps(image.manifest)


def test_annotations_of_a_bases_layers_stay(kit: Any) -> None:
    layer = {"mediaType": DOCKER["layer"], "digest": kit.digest_of(b"l"), "size": 1, "urls": ["https://e.example"]}
    found = parse_base(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER["manifest"],
                "config": {"mediaType": DOCKER["config"], "digest": kit.digest_of(b"c"), "size": 1, "data": "e30="},
                "layers": [{**layer, "annotations": {"containerd.io/snapshot/stargz/toc.digest": "sha256:1"}}],
                "annotations": {"the": "base's"},
            }
        ).encode()
    )
    (kept,) = found.layers
    assert kept.annotations == {"containerd.io/snapshot/stargz/toc.digest": "sha256:1"}
    assert not kept.model_extra
    assert not found.config.model_extra
    assert found.annotations is None


def test_where_the_base_lies_is_told(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any
) -> None:
    below = kit.InRegistry(base)
    image = read(model().build(below, images, recipes))
    for told in (image.manifest["annotations"], image.config["config"]["Labels"]):
        assert told["org.opencontainers.image.base.name"] == str(below.reference)
        assert told[HERE] == kit.digest_of(base.manifest())


def test_a_second_build_asks_once_and_sends_no_bytes(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any
) -> None:
    one, destination = model(), kit.Recording(images)
    first = one.build(base, destination, recipes)
    assert destination.asked == ["put"] * 7 + ["push"]  # two of the base, three and the configuration of ours, a config
    destination.calls.clear()
    assert one.build(base, destination, recipes) == first
    assert destination.calls == [("manifest", first.reference.digest), ("reference", first.reference.digest)]


def test_only_what_changed_is_made_and_sent(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any
) -> None:
    destination = kit.Recording(images)
    before = read(model().build(base, destination, recipes))
    destination.calls.clear()
    changed = model({**kit.FILES, "code/handler.py": b"def handle(): return 1\n"})
    after = read(changed.build(base, destination, recipes))
    old, new = ([layer["digest"] for layer in image.manifest["layers"]] for image in (before, after))
    assert [here == there for here, there in zip(old, new, strict=True)] == [True, True, True, True, False, True]
    # what lies there is only asked for; the base's layers are put, which a destination that has them does not read
    assert [digest for name, digest in destination.calls if name == "has"] == [old[2], old[3]]
    assert set(destination.put_digests) == {old[0], old[1], new[4], new[5], after.manifest["config"]["digest"]}


def test_a_layer_that_is_known_but_gone_is_made_again(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any, tmp_path: Path
) -> None:
    one = model()
    first = one.build(base, images, recipes)
    elsewhere = LayoutDestination(tmp_path / "elsewhere")
    assert one.build(base, elsewhere, recipes) == first
    assert kit.Read(elsewhere.folder("fraud"), first.reference.digest).layers == read(first).layers


class Forgetful:
    """Recipes that know nothing, or something of another kind."""

    def __init__(self, told: Any = None) -> None:
        self._told = told

    def known(self, recipe: str) -> Any:
        return self._told

    def keep(self, recipe: str, layer: Any) -> None:
        pass


def test_recipes_are_for_speed_alone(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any
) -> None:
    one = model()
    first = one.build(base, images, recipes)
    assert one.build(base, images, Forgetful()) == first
    layer = recipes.known(next(path.name for path in recipes._folder.iterdir()))
    other = layer.model_copy(update={"media_type": "application/vnd.oci.image.layer.v1.tar+gzip"})
    assert one.build(base, images, Forgetful(other)) == first


def test_why_a_layer_was_first_made_does_not_matter(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any
) -> None:
    one = model()
    first = one.build(base, images, recipes)

    class Renamed:
        def known(self, recipe: str) -> Any:
            found = recipes.known(recipe)
            return found and found.model_copy(update={"concern": "something"})

    assert one.build(base, images, Renamed()) == first


@pytest.mark.parametrize("compression", Compression)
def test_every_layer_of_ours_is_compressed_as_asked(
    compression: Compression,
    kit: Any,
    model: Any,
    base: LayoutImage,
    images: LayoutDestination,
    recipes: Any,
    read: Any,
) -> None:
    one = model()
    plain = read(one.build(base, images, recipes))
    image = read(one.build(base, images, recipes, compression=compression))
    suffix = "" if compression is Compression.NONE else f"+{compression.value}"
    kinds = [layer["mediaType"] for layer in image.manifest["layers"]]
    assert kinds[2:] == [f"application/vnd.oci.image.layer.v1.tar{suffix}"] * 4
    assert image.config["rootfs"] == plain.config["rootfs"]  # what is inside is the same


def test_a_volume_mounted_has_what_an_image_has(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, read: Any
) -> None:
    one, below = model(), kit.InRegistry(base)
    whole = read(one.build(below, images, recipes))
    built = one.build(below, images, recipes, delivery=Delivery.VOLUME)
    volume = read(built)
    inside = {path: entry for path, entry in whole.root(under=2).items() if path != "srv/sluice"}
    assert {f"srv/sluice/{path}": entry for path, entry in volume.root().items()} == inside
    assert built.server == below.reference
    assert built.base == below.reference.digest
    # still an image: kubelets pull by platform, and containerd mounts what an image's config describes
    assert volume.manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert (volume.config["os"], volume.config["architecture"]) == ("linux", "amd64")
    assert volume.config["rootfs"]["diff_ids"] == [kit.digest_of(layer) for layer in volume.layers]
    assert volume.config["config"].keys() == {"Labels"}
    assert volume.config["config"]["Labels"][FILES_LABEL] == whole.config["config"]["Labels"][FILES_LABEL]


def test_a_volume_does_not_change_with_its_server(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, tmp_path: Path
) -> None:
    one, destination = model(), kit.Recording(images)
    other = kit.make_base(tmp_path / "other", layers=[kit.tar_of({"etc/other": b"x"})])
    first, second = (
        one.build(kit.InRegistry(below), destination, recipes, delivery=Delivery.VOLUME) for below in (base, other)
    )
    assert first.reference == second.reference
    assert first.server != second.server
    assert not set(destination.put_digests) & {layer.digest for layer in parse_base(base.manifest()).layers}


def test_a_volume_that_could_not_be_mounted_is_refused_before_a_byte_is_sent(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any
) -> None:
    destination = kit.Recording(images)
    with pytest.raises(Refused, match=r"needs its server's image in a registry: set the base to one there\.$"):
        model().build(base, destination, recipes, delivery=Delivery.VOLUME)
    with pytest.raises(Refused, match=r"^The server of fraud@7 needs A, B in its environment, which a volume cannot"):
        model(env={"B": "1", "A": "2"}).build(kit.InRegistry(base), destination, recipes, delivery=Delivery.VOLUME)
    assert destination.calls == []


def artifact_of(count: int) -> Artifact:
    digest = "sha256:" + "1" * 64
    files = tuple(FileFact(path=f"shard-{number}", size=number, sha256=digest) for number in range(count))
    return Artifact(type="mar", source=digest, blob=digest, size=1, files=files)


def test_the_files_are_told_in_a_label_of_bounded_size(kit: Any) -> None:
    assert json.loads(files_label(artifact_of(2))) == [
        ["shard-0", 0, "sha256:" + "1" * 64],
        ["shard-1", 1, "sha256:" + "1" * 64],
    ]
    many = artifact_of(3_000)
    whole = json.dumps([[f.path, f.size, f.sha256] for f in many.files], separators=(",", ":")).encode()
    assert len(whole) > 256 << 10
    assert json.loads(files_label(many)) == {"count": 3_000, "sha256": kit.digest_of(whole)}


@pytest.mark.parametrize(("under", "fits"), [(60, True), (100, True), (124, True), (125, False), (2_000, False)])
def test_an_image_has_no_more_layers_than_can_be_mounted(
    under: int, fits: bool, kit: Any, model: Any, images: LayoutDestination, recipes: Any, read: Any, tmp_path: Path
) -> None:
    below = kit.make_base(tmp_path / "tall", layers=[kit.tar_of({"x": b"x"})] * under)
    many = model({f"w{number}": bytes([number]) * 10 for number in range(80)} | {"a.py": b""}, own_layer_from=1)
    destination = kit.Recording(images)
    if fits:
        image = read(many.build(below, destination, recipes))
        assert len(image.layers) <= 127
        assert len([path for path in image.root() if "/w" in path]) == 80
    else:
        with pytest.raises(Refused, match=r"but an image has at most 127: squash the base\.$"):
            many.build(below, destination, recipes)
        assert destination.calls == []


Spoil = Callable[[Any, Path], LayoutImage]


def _typed(**types: str) -> Spoil:
    return lambda kit, folder: kit.make_base(folder, types=types)


def _configured(**config: object) -> Spoil:
    return lambda kit, folder: kit.make_base(folder, config={**kit.BASE_CONFIG, **config})


def _rewritten(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """A base with another manifest, under its right digest."""

    def spoil(kit: Any, folder: Path) -> LayoutImage:
        image = kit.make_base(folder)
        return _entered(folder, json.dumps(change(json.loads(image.manifest()))).encode())

    return spoil


def _entered(folder: Path, manifest: bytes, size: int | None = None) -> LayoutImage:
    from hashlib import sha256

    digest = sha256(manifest).hexdigest()
    place = folder / "server"
    (place / "blobs/sha256" / digest).write_bytes(manifest)
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{digest}",
        "size": len(manifest) if size is None else size,
    }
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return LayoutImage(place)


def _with_config(data: bytes, size: int | None = None) -> Spoil:
    def spoil(kit: Any, folder: Path) -> LayoutImage:
        manifest = json.loads(kit.make_base(folder).manifest())
        digest = kit.digest_of(data)
        (folder / "server/blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(data)
        config = {**manifest["config"], "digest": digest, "size": len(data) if size is None else size}
        return _entered(folder, json.dumps({**manifest, "config": config}).encode())

    return spoil


def _damaged(change: Callable[[bytes], bytes | None], layer: bool = True) -> Spoil:
    def spoil(kit: Any, folder: Path) -> LayoutImage:
        image = kit.make_base(folder)
        digest = json.loads(image.manifest())["layers"][0]["digest"] if layer else kit.digest_of(image.manifest())
        path = folder / "server/blobs/sha256" / digest.removeprefix("sha256:")
        data = change(path.read_bytes())
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        return image

    return spoil


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
BASES: Mapping[str, tuple[type[SluiceError], str, Spoil]] = {
    "a list of platforms": (Refused, "not one image", _typed(manifest="application/vnd.oci.image.index.v1+json")),
    "an artifact": (Refused, "not a server", _typed(config="application/vnd.cncf.helm.config.v1+json")),
    "a foreign layer": (Refused, "may not be copied", _typed(layer=FOREIGN)),
    "a layer not to be distributed": (
        Refused,
        "may not be copied",
        _typed(layer="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    ),
    "a layer of something else": (Refused, "no file system", _typed(layer="application/wasm")),
    "no manifest": (Refused, "not an OCI image manifest", _rewritten(lambda m: ["x"])),
    "a manifest without layers": (
        Refused,
        "not an OCI image manifest",
        _rewritten(lambda m: {key: value for key, value in m.items() if key != "layers"}),
    ),
    "a layer of more bytes than there are": (
        Refused,
        "not an OCI image manifest",
        _rewritten(lambda m: {**m, "layers": [{**m["layers"][0], "size": 1 << 63}]}),
    ),
    "fewer layers than its config": (
        Refused,
        "has 1 layers, and its config tells of 2",
        _rewritten(lambda m: {**m, "layers": m["layers"][:1]}),
    ),
    "a layer of another size": (
        Refused,
        "holds other bytes",
        _rewritten(lambda m: {**m, "layers": [{**m["layers"][0], "size": 1}, m["layers"][1]]}),
    ),
    "a huge manifest": (Refused, "which none needs", _rewritten(lambda m: {**m, "x": "y" * (5 << 20)})),
    "a changed manifest": (Refused, "holds other bytes than its name says", _damaged(lambda _: b"{}", layer=False)),
    "a changed layer": (Refused, "holds other bytes than its name says", _damaged(lambda data: b"x" + data[1:])),
    "a cut layer": (Refused, "holds other bytes than its name says", _damaged(lambda data: data[:-1])),
    "no layer": (NotFound, "lacks sha256:", _damaged(lambda _: None)),
    "a config of no JSON": (Refused, "config cannot be read", _with_config(b"\xff{")),
    "a config nested too deep": (Refused, "config cannot be read", _with_config(b"[" * 100_000)),
    "a config without a root": (Refused, "config cannot be read", _with_config(b"{}")),
    "a config of many bytes": (Refused, "which none needs", _with_config(b"{}" + b" " * (9 << 20))),
    "a config with diff ids of letters": (Refused, "config cannot be read", _configured(rootfs={"diff_ids": "abc"})),
    "a config that is a list inside": (Refused, "config cannot be read", _configured(config=["x"])),
    **{
        f"a volume at {path}": (
            Refused,
            r"declares the volume .*, which would hide the model in /srv/sluice when a container starts: choose",
            _configured(config={"Volumes": {"/data": {}, path: {}}}),
        )
        for path in ("/", "/srv", "/srv/", "srv/sluice", "/srv/x/../sluice/", "//srv", "/srv/sluice/models")
    },
    "volumes that are a list": (Refused, "does not tell its volumes", _configured(config={"Volumes": ["/srv"]})),
    "a platform of two lines": (Refused, "config cannot be read", _configured(os="linux\nx")),
    "a number that is none": (
        Refused,
        "config cannot be read",
        _with_config(
            b'{"os":"linux","architecture":"amd64","x":NaN,"rootfs":{"diff_ids":["sha256:'
            + b"1" * 64
            + b'","sha256:'
            + b"2" * 64
            + b'"]}}'
        ),
    ),
}


@pytest.mark.parametrize("volumes", [None, {}, {"/data": {}, "/srv/sluice2": {}, "/srvx": {}, "/tmp": {}}])
def test_volumes_elsewhere_stay(
    volumes: Any, kit: Any, model: Any, images: LayoutDestination, recipes: Any, read: Any, tmp_path: Path
) -> None:
    config = {**kit.BASE_CONFIG, "config": {"Volumes": volumes}}
    below = kit.make_base(tmp_path / "volumes", config=config)
    assert read(model().build(below, images, recipes)).config["config"]["Volumes"] == volumes


@pytest.mark.parametrize(("kind", "told", "spoil"), BASES.values(), ids=BASES.keys())
def test_a_base_that_cannot_be_used_leaves_nothing_named(
    kind: type[SluiceError],
    told: str,
    spoil: Spoil,
    kit: Any,
    model: Any,
    images: LayoutDestination,
    recipes: Any,
    tmp_path: Path,
) -> None:
    image = spoil(kit, tmp_path / "spoilt")
    with pytest.raises(kind, match=told) as caught:
        model().build(image, images, recipes)
    assert type(caught.value) is kind
    assert str(caught.value).endswith((".", "`."))
    folder = images.folder("fraud")
    assert not (folder / "index.json").exists()
    assert not list(folder.rglob(".part-*"))
    for path in folder.glob("blobs/sha256/*"):
        assert kit.digest_of(path.read_bytes()) == f"sha256:{path.name}"


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
_FIELDS = ("schemaVersion", "mediaType", "config", "layers", "annotations", "subject", "artifactType", "x")
_CONFIG_FIELDS = ("os", "architecture", "variant", "config", "rootfs", "history", "created", "x")


class Given:
    """A base of any manifest and config."""

    reference = None

    def __init__(self, manifest: bytes, config: bytes) -> None:
        self._manifest, self._config = manifest, config

    def manifest(self) -> bytes:
        return self._manifest

    def content(self, descriptor: Descriptor) -> Kept:
        return Kept(descriptor.digest, descriptor.size, lambda start: iter((self._config,)))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_base_says_it_is_built_upon_or_refused(
    data: st.DataObject, kit: Any, base: LayoutImage, tmp_path: Path, recipes: Any
) -> None:
    (tmp_path / "blobs").mkdir(exist_ok=True)
    one = kit.make_model(tmp_path / "blobs")
    manifest = json.loads(base.manifest())
    config = json.loads(b"".join(base.content(Descriptor.model_validate(manifest["config"])).chunks()))
    if data.draw(st.booleans()):
        manifest[data.draw(st.sampled_from(_FIELDS))] = data.draw(_JSON)
    else:
        manifest["layers"][0][data.draw(st.sampled_from(["mediaType", "digest", "size", "annotations"]))] = data.draw(
            _JSON
        )
    config[data.draw(st.sampled_from(_CONFIG_FIELDS))] = data.draw(_JSON)
    told = json.dumps(config).encode()
    if isinstance(manifest.get("config"), dict):
        manifest["config"] |= {"size": len(told)}
    raw = data.draw(st.one_of(st.just(json.dumps(manifest).encode()), st.binary(max_size=64)))
    below, images = Given(raw, told), LayoutDestination(tmp_path / "images")
    try:
        built = one.build(below, images, recipes)
    except Refused:
        return
    json.loads(images.manifest("fraud", built.reference.digest), parse_constant=pytest.fail)
