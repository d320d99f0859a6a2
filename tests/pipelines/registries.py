"""Debian's docker-registry on a free port of loopback, for tests that want a real one.

Tests get it by the fixture `docker_registry`, or start one of their own with `serve`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from sluice.demo.ports import free_pairs

# bcrypt of the password, which is all that docker-registry reads; nothing here computes it without another package
HTPASSWD = "builder:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"
USER, PASSWORD = "builder", "s3cret"
START_SECONDS = 60


class DockerRegistry(NamedTuple):
    """A registry that runs."""

    host: str
    """With its port."""
    folder: Path
    """Where it keeps everything."""


@contextmanager
def serve(folder: Path, *, htpasswd: str = "") -> Iterator[DockerRegistry]:
    """Run docker-registry with its data in `folder`; `htpasswd` makes it ask for Basic."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("Install docker-registry (Debian's package of that name): this test pushes to a real registry.")
    (port,) = free_pairs(1)
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "for tests"},
    }
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        try:
            _wait(process, f"http://127.0.0.1:{port}/v2/", folder / "log")
            yield DockerRegistry(f"127.0.0.1:{port}", folder)
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"docker-registry ended: {log.read_text()}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.05)  # it listens on nothing that could be waited for
        else:
            return
    pytest.fail("docker-registry does not start.")
