"""What is measured, in order; a part whose peer is missing tells so in its result as `missing`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.packaging import peers
from bench.packaging.measure import cpu_of
from bench.packaging.model import BLOCK, Kind, archive, handler, model_file
from bench.packaging.servers import DockerRegistry, docker_registry, has_docker_registry, requests_in
from registry.aws import Clients
from registry.progress import Silent
from registry.storage import Storage
from sluice.demo.endpoints import create_bucket
from sluice.demo.stack import Stack

ROOT = Path(__file__).parents[2]
BASE_LAYERS, BASE_LAYER = 4, 128 << 20
COPIED_LAYERS, COPIED_LAYER = 8, 1 << 30
NO_REGISTRY = "install docker-registry"
_LIBRARIES = {"zlib": "zlib", "zlib-ng": "zlib_ng.zlib_ng", "ISA-L": "isal.isal_zlib"}


def work(job: str, **told: object) -> dict[str, Any]:
    """Do a job of `bench.packaging.work` in a process of its own; what it says, and its seconds as a whole."""
    wall = time.perf_counter()
    done = subprocess.run(_command(job, told), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job} fails:\n{done.stderr[-4000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "process": time.perf_counter() - wall}


def _command(job: str, told: dict[str, object]) -> list[str]:
    options = [f"{name}={value}" for name, value in told.items()]
    return [sys.executable, "-B", "-m", "bench.packaging.work", job, *options]


def best(rounds: int, act: Callable[[], dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """The fastest of some turns."""
    return min((act() for _ in range(rounds)), key=of)


def packaging(kind: Kind, size: int, folder: Path, rounds: int = 3) -> dict[str, Any]:
    """tar.gz to .mar, beside torch-model-archiver on the unpacked files, and beside unpacking and hashing alone."""
    source, out = folder / "model.tar.gz", folder / "out"
    out.mkdir()
    with source.open("wb") as file:
        file.writelines(archive(kind, size))
    plain = model_folder(kind, size, folder)
    found: dict[str, Any] = {"size": size}
    for _ in range(rounds):  # in turns, so that whatever else the machine does is shared
        _keep(found, "floor", work("floor", file=source), lambda one: one["wall"])
        _keep(found, "dropped", work("package", file=source), lambda one: one["package"]["wall"])
        _keep(found, "written", work("package", file=source, folder=out), lambda one: one["package"]["wall"])
        shutil.rmtree(out)
        out.mkdir()
    libraries = {name: module for name, module in _LIBRARIES.items() if _there(module)}
    found["libraries"] = {
        name: best(2, lambda module=module: work("unzip", file=source, library=module), lambda one: one["cpu"])
        for name, module in libraries.items()
    }
    program = peers.find_archiver()
    if program is None:
        found["missing"] = f"install {peers.ARCHIVER}"
    else:
        found["archiver"] = {form: peers.archive(program, plain, form, folder) for form in peers.FORMATS}
        found["archiver version"] = peers.archiver_version(program)
    source.unlink()
    shutil.rmtree(out)
    shutil.rmtree(plain.parent)
    return found


def _there(module: str) -> bool:
    return find_spec(module.partition(".")[0]) is not None


def _keep(found: dict[str, Any], name: str, one: dict[str, Any], of: Callable[[dict[str, Any]], float]) -> None:
    if name not in found or of(one) < of(found[name]):
        found[name] = one


def model_folder(kind: Kind, size: int, folder: Path) -> Path:
    """The unpacked model, and beside it its handler."""
    plain = folder / "unpacked" / "model.pt"
    plain.parent.mkdir()
    with plain.open("wb") as file:
        file.writelines(piece.raw for piece in model_file(kind, size))
    (plain.parent / "handler.py").write_bytes(handler())
    return plain


def memory(sizes: tuple[int, ...]) -> dict[int, dict[str, Any]]:
    """Peaks where archives are made on the fly and artifacts dropped, in a process that may write no file."""
    return {size: work("package", kind=Kind.RANDOM.value, size=size) for size in sizes}


def over_s3(sizes: tuple[int, ...], folder: Path) -> dict[int, dict[str, Any]]:
    """The same from S3 to S3, with the server on this machine, in a process that may write no file."""
    found = {}
    with Stack.start(folder / "stack", [], progress=Silent()) as stack:
        os.environ.update(stack.endpoints.environment())
        create_bucket(stack.endpoints, "bench-packaging")
        storage, s3 = Storage.s3(Clients(), "bench-packaging"), Clients().s3()
        for size in sizes:
            blob = storage.blobs.put(archive(Kind.RANDOM, size), what="", progress=Silent())
            key = f"blobs/sha256/{blob.digest.removeprefix('sha256:')}"
            etag = s3.head_object(Bucket="bench-packaging", Key=key)["ETag"]
            server, before = stack.pids["seaweedfs"], cpu_of(stack.pids["seaweedfs"])
            one = work("package", bucket="bench-packaging", key=key, etag=etag, size=blob.size)
            found[size] = one | {"server": cpu_of(server) - before}
    shutil.rmtree(folder / "stack", ignore_errors=True)
    return found


@contextmanager
def _registry(folder: Path) -> Iterator[DockerRegistry]:
    with docker_registry(folder / "registry") as registry:
        yield registry


def images(size: int, folder: Path, rounds: int = 3) -> dict[str, Any]:
    """A .mar into an image beside buildah, and beside sending the same bytes; what a second build sends."""
    if not has_docker_registry():
        return {"missing": NO_REGISTRY}
    found: dict[str, Any] = {"size": size}
    blobs = folder / "blobs"
    blobs.mkdir()
    with _registry(folder) as registry:
        work("push base", host=registry.host, layers=BASE_LAYERS, size=BASE_LAYER)
        told = {"host": registry.host, "log": registry.log, "folder": blobs}
        found["counted"] = work("build", **told, kind="random", size=8 * BLOCK, place="counted", count=1, handler=1)
        for turn in range(rounds):
            cpu = cpu_of(registry.pid)
            one = work("build", **told, kind="random", size=size, place=f"turn{turn}")
            one["server"], cpu = cpu_of(registry.pid) - cpu, cpu_of(registry.pid)
            _keep(found, "built", one, lambda one: one["first"]["wall"])
            mar = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
            sent = work("send", host=registry.host, file=mar, place=f"sent{turn}")
            sent["server"] = cpu_of(registry.pid) - cpu
            _keep(found, "sent", sent, lambda one: one["wall"])
        if peers.has_buildah():
            found["buildah"] = peers.buildah(registry.host, model_folder(Kind.RANDOM, size, folder), folder)
            shutil.rmtree(folder / "unpacked")
        else:
            found["no buildah"] = "install buildah, and run as root"
    shutil.rmtree(blobs)
    return found


def base_copy(folder: Path) -> dict[str, Any]:
    """A base of 8 GiB copied: killed half-way, and again."""
    if not has_docker_registry():
        return {"missing": NO_REGISTRY}
    if shutil.disk_usage(folder).free < COPIED_LAYERS * COPIED_LAYER + (4 << 30):
        return {"missing": "12 GiB of disk"}
    with _registry(folder) as registry:
        told: dict[str, object] = {"host": registry.host, "layers": COPIED_LAYERS, "size": COPIED_LAYER}
        _kill_half_way(told, registry)
        time.sleep(1)
        before = requests_in(registry.log)
        done = sum(method == "PUT" and "/blobs/" in path and status == 201 for method, path, status in before)
        again = work("copy", **told)
        time.sleep(0.2)
        after = requests_in(registry.log)[len(before) :]
        opened = {path.partition("?")[0] for method, path, _ in after if method == "PATCH"}
        return {"done": done, "sent": len(opened), "again": again, "layers": COPIED_LAYERS}


def _kill_half_way(told: dict[str, object], registry: DockerRegistry) -> None:
    process = subprocess.Popen(_command("copy", told), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    try:
        while process.poll() is None:
            asked = requests_in(registry.log)
            if sum(method == "PUT" and "/blobs/" in path for method, path, _ in asked) >= COPIED_LAYERS // 2:
                time.sleep(0.5)  # into the next layer
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    finally:
        watchdog.cancel()
        process.wait()
