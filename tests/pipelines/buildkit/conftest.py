"""A registry, buildah, and a base of a few files in which a Dockerfile's commands do run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.buildkit.buildah import Buildah
from pipelines.image.content import Content, Kept
from pipelines.image.images import Reference
from pipelines.image.oci import MANIFEST_TYPE, Descriptor
from pipelines.image.recipes import StoredBases
from registry.memory import MemoryStore

ASKED = "var/lib/asked"
"""Where the base's apt-get and python3, which install nothing, write what they were asked and what they saw."""
PASSWORD = "only-for-tests"
_HASH = "$2y$04$abcdefghijklmnopqrstuuSOASZ5gFdIXxQU/MI4albXfVKBHc6R2"
"""The password's, as bcrypt makes it."""
_RECORD = """\
#!/bin/sh
echo "$(basename "$0") $* (as $(id -u))" >> /var/lib/asked
for word; do case $word in --requirement=*) cat "${word#--requirement=}" >> /var/lib/asked; esac; done
"""
_BASE = """\
FROM scratch
COPY rootfs/ /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin LANG=C.UTF-8
USER 1000:1000
"""


@dataclass
class Said:
    """Progress that is kept."""

    facts: list[str] = field(default_factory=list)

    def bytes(self, what: str, done: int, total: int | None) -> None:
        """Not asked for here."""

    def fact(self, text: str) -> None:
        self.facts.append(text)


class Served:
    """A docker-registry on loopback, and what a test reads from it."""

    def __init__(self, host: str, password: str = "") -> None:
        self.host = host
        self.bases = StoredBases(MemoryStore())
        self._headers = {"Accept": MANIFEST_TYPE}
        if password:
            self._headers["Authorization"] = "Basic " + base64.b64encode(f"sluice:{password}".encode()).decode()

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(f"http://{self.host}/v2/{path}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            data: bytes = answer.read()
        return data

    def tagged(self, repository: str, tag: str) -> str | None:
        try:
            return "sha256:" + hashlib.sha256(self.get(f"{repository}/manifests/{tag}")).hexdigest()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def image(self, repository: str, digest: str) -> Pulled:
        return Pulled(self, repository, digest)


class Pulled:
    """An image in the registry."""

    def __init__(self, served: Served, repository: str, digest: str) -> None:
        self._served, self._repository, self.digest = served, repository, digest

    @property
    def reference(self) -> Reference:
        return Reference(f"{self._served.host}/{self._repository}", self.digest)

    def manifest(self) -> bytes:
        return self._served.get(f"{self._repository}/manifests/{self.digest}")

    def content(self, descriptor: Descriptor) -> Content:
        def read(start: int) -> Iterator[bytes]:
            yield self._served.get(f"{self._repository}/blobs/{descriptor.digest}")[start:]

        return Kept(descriptor.digest, descriptor.size, read)

    def config(self) -> dict[str, Any]:
        manifest = json.loads(self.manifest())
        config: dict[str, Any] = json.loads(
            self._served.get(f"{self._repository}/blobs/{manifest['config']['digest']}")
        )
        return config

    def layers(self) -> list[bytes]:
        manifest = json.loads(self.manifest())
        return [self._served.get(f"{self._repository}/blobs/{layer['digest']}") for layer in manifest["layers"]]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Starts a docker-registry, with a password where one is given."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("Install docker-registry (Debian's package of that name) to see images pushed.")
    running: list[subprocess.Popen[bytes]] = []

    def start(password: str = "") -> Served:
        folder = tmp_path_factory.mktemp("registry")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            host = f"127.0.0.1:{listener.getsockname()[1]}"
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": host},
        }
        if password:
            assert password == PASSWORD
            users = folder / "users"
            users.write_text(f"sluice:{_HASH}\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(users)}}
        (folder / "config.yml").write_text(json.dumps(config))
        command = [program, "serve", str(folder / "config.yml")]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        served = Served(host, password)
        for _ in range(600):
            try:
                served.get("")
            except urllib.error.URLError:
                assert running[-1].poll() is None
                time.sleep(0.1)
            else:
                return served
        raise AssertionError("docker-registry did not start")

    yield start
    for process in running:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def served(serve: Callable[..., Served]) -> Served:
    """One that asks for no password."""
    return serve()


@dataclass(frozen=True)
class Tool:
    """buildah with a store of its own, which needs no daemon, no overlayfs and no container runtime."""

    command: tuple[str, ...]
    environ: dict[str, str]

    @property
    def builder(self) -> Buildah:
        return Buildah(self.command, environ=self.environ)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments], env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    program = shutil.which("buildah")
    if not program or os.geteuid() != 0:
        pytest.skip("Install buildah (Debian's package of that name), and run as root, to see a base extended.")
    store = tmp_path_factory.mktemp("buildah")
    command = (program, f"--root={store}/root", f"--runroot={store}/run", "--storage-driver=vfs")
    return Tool(command, {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(store)})


@pytest.fixture(scope="session")
def base_folder(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with the small base, tagged `latest`."""
    busybox = next((Path(path) for path in ("/bin/busybox", "/usr/bin/busybox") if Path(path).exists()), None)
    if busybox is None:
        pytest.skip("Install busybox-static (Debian's package of that name) to have a base in which commands run.")
    folder = tmp_path_factory.mktemp("base")
    bin_ = folder / "rootfs/bin"
    bin_.mkdir(parents=True)
    shutil.copy(busybox, bin_ / "busybox")
    for name in ("apt-get", "python3"):
        (bin_ / name).write_text(_RECORD)
        (bin_ / name).chmod(0o755)
    (folder / "rootfs/var/lib").mkdir(parents=True)
    (folder / "rootfs/tmp").mkdir()
    (folder / "rootfs/tmp").chmod(0o1777)
    (folder / "Dockerfile").write_text(_BASE)
    tool(
        "build",
        "--format=oci",
        "--timestamp=0",
        "--identity-label=false",
        "--tag=localhost/tiny",
        f"--file={folder}/Dockerfile",
        str(folder),
    )
    tool("push", "localhost/tiny", f"oci:{folder}/oci:latest")
    return folder / "oci"


@pytest.fixture(scope="session")
def base(base_folder: Path, tool: Tool, served: Served) -> Pulled:
    """The same in the registry."""
    tool("push", "--tls-verify=false", "localhost/tiny", f"docker://{served.host}/bases/tiny:latest")
    digest = served.tagged("bases/tiny", "latest")
    assert digest is not None
    return served.image("bases/tiny", digest)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def password() -> str:
    return PASSWORD
