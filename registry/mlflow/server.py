"""An MLflow server of our own, over a store that has none: the person's own `mlflow`, on a loopback port, for a while.

The store's address, which may hold a password, is told by the environment and never on a command line (MLflow command
line reference, `mlflow server`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from registry.errors import InvalidInput, NotFound, Unavailable

if TYPE_CHECKING:
    import httpx

EXECUTABLE = "SLUICE_MLFLOW"
"""The environment variable with the path of `mlflow`, where it is not the first on PATH."""

_START, _END = 120.0, 10.0  # seconds
_KEEPER = (
    "trap : TERM; "
    '(trap : TERM; "$@" </dev/null; kill -TERM $$) & '
    "read -r _; kill -TERM 0; wait; kill -KILL 0"
)  # fmt: skip
"""The leader of the server's process group: it ends all of the group when the server ends, and when its own input does,
which is when this process closes it or dies in whatever way."""
_KEPT = ("MLFLOW_S3_", "MLFLOW_BOTO", "MLFLOW_GCS_", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_SQLALCHEMYSTORE_")
"""What the person's MLflow settings say of stores; all others are about other servers and clients."""
_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): .+", re.MULTILINE)
"""The last line of a Python traceback."""
_DATABASES = ("postgresql", "mysql", "mssql")


class LocalStore(NamedTuple):
    """A store that MLflow opens by itself."""

    uri: str
    """As `mlflow server` takes it."""
    folder: Path | None
    """What relative paths in it are relative to; None: it is a database on another machine."""
    shown: str
    """The address without a password."""


def parse_store(uri: str) -> LocalStore:
    """Read the address of a tracking store: `sqlite:///file`, `postgresql://…`, `file:///folder` or a folder.

    Raises:
        InvalidInput: another scheme.
        NotFound: there is no such file or folder.
    """
    scheme, _, rest = uri.partition("://")
    kind = scheme.partition("+")[0] if rest else ""
    if kind == "sqlite":
        return _sqlite(scheme, rest.partition("?")[0])
    if kind in _DATABASES:
        parts = urlsplit(uri)
        shown = f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        return LocalStore(uri, Path.cwd() if (parts.hostname or "") in _LOOPBACK else None, shown)
    if kind not in ("", "file"):
        raise InvalidInput(
            f"{scheme[:40]!r} is no MLflow store that Sluice reads: give http(s)://host, sqlite:///file,"
            " postgresql://…, mysql://… or a folder."
        )
    return _folder(uri, Path(unquote(urlsplit(uri).path)) if kind else Path(uri))


def _sqlite(scheme: str, rest: str) -> LocalStore:
    path = Path(rest.removeprefix("/")).absolute()
    if not path.is_file():
        raise NotFound(f"There is no MLflow database {path}: correct the address sqlite:///FILE.")
    return LocalStore(f"{scheme}:///{path}", path.parent, f"sqlite:///{path}")


def _folder(uri: str, given: Path) -> LocalStore:
    path = given.absolute()
    if path.is_file():
        raise InvalidInput(f"{uri[:200]!r} is a file: write a database as sqlite:///FILE, or give the mlruns folder.")
    if not path.is_dir():
        raise NotFound(f"There is no MLflow store {uri[:200]!r}: give its folder, or the address of a server.")
    return LocalStore(path.as_uri(), path.parent, str(path))


class OwnServer:
    """A running `mlflow server`; `close` ends it and whatever it has started.

    Raises:
        InvalidInput: there is no `mlflow` to run.
        Unavailable: it ended at once, or did not answer within two minutes.
    """

    def __init__(self, store: LocalStore, *, tell: Callable[[str], None] | None = None) -> None:
        executable = find_mlflow()
        if tell:
            tell(f"Starting {executable} over {store.shown}.")
        self._litter = tempfile.TemporaryDirectory(prefix="sluice-mlflow-", ignore_cleanup_errors=True)
        self._log = Path(self._litter.name, "log")
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        destination = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or str(
            (store.folder or Path.cwd()) / "mlartifacts"
        )
        command = [executable, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--serve-artifacts", "--artifacts-destination", destination]
        with self._log.open("wb") as log:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._litter.name,
                env=_environment(os.environ, store.uri),
                start_new_session=True,
            )
        try:
            self._wait(store)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the server and all that it started; nothing where that was done."""
        if self._keeper.stdin:
            self._keeper.stdin.close()
        try:
            self._keeper.wait(_END)
        except subprocess.TimeoutExpired:
            os.killpg(self._keeper.pid, signal.SIGKILL)  # the leader was not waited for yet, so the group is ours
            self._keeper.wait()
        self._litter.cleanup()

    def _wait(self, store: LocalStore) -> None:
        import httpx

        deadline = time.monotonic() + _START
        with httpx.Client(trust_env=False, timeout=5) as client:
            while time.monotonic() < deadline:
                answered = _healthy(client, self.url)
                if self._keeper.poll() is not None:
                    raise Unavailable(f"MLflow cannot open {store.shown}: {self._last_words(store)}")
                if answered:
                    return
                time.sleep(0.1)
        raise Unavailable(
            f"MLflow over {store.shown} did not answer for {_START:.0f} seconds: start its server by hand."
        )

    def _last_words(self, store: LocalStore) -> str:
        said = self._log.read_text("utf-8", "replace").replace(store.uri, store.shown)
        password = urlsplit(store.uri).password
        if password:
            said = said.replace(password, "…").replace(unquote(password), "…")
        errors = _ERROR.findall(said) or [line for line in said.splitlines() if line.strip()]
        return errors[-1][:400] if errors else "it ended without a word, run `mlflow server` by hand to see why."


def find_mlflow() -> str:
    """The path of the person's `mlflow`: what SLUICE_MLFLOW says, or the first on PATH.

    Raises:
        InvalidInput: there is none.
    """
    named = os.environ.get(EXECUTABLE, "")
    found = shutil.which(named or "mlflow")
    if found is None:
        looked = f"{EXECUTABLE} names {named}, which is not there" if named else "no `mlflow` is on PATH"
        raise InvalidInput(
            f"Reading an MLflow store takes MLflow itself, and {looked}: pip install mlflow, set {EXECUTABLE} to the"
            " executable, or give the address of a running server."
        )
    return str(Path(found).absolute())


def _environment(given: Mapping[str, str], uri: str) -> dict[str, str]:
    kept = {n: v for n, v in given.items() if not n.startswith(("MLFLOW_", "_MLFLOW_")) or n.startswith(_KEPT)}
    return kept | {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _healthy(client: httpx.Client, url: str) -> bool:
    import httpx

    try:
        return client.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False
