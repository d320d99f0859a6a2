"""Running git: one way in, the same environment every time, and failures as exceptions.

git is run through GitPython, always on a bare repository that is named explicitly. Nothing here asks a question on a
terminal. The person's own configuration counts (credential helpers, ssh, proxies, `url.*.insteadOf`), with two
exceptions: their hooks do not run, and the variables by which a git hook tells its children where the repository is
are dropped, so that Sluice works the same inside a hook.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitops.address import SCHEMES
from gitops.git_errors import GitFailed
from registry.errors import NotFound

if TYPE_CHECKING:
    from git.cmd import Git

# `git rev-parse --local-env-vars`, and what a receiving hook adds
_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_REFLOG_ACTION",
)
_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.quotePath=false",
    "credential.interactive=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=120",
    "protocol.version=2",  # by which a server gives single objects
)
_SSH = "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15 -oServerAliveCountMax=4"
_LONGEST = 900.0
_NO_GIT = "git is not on the PATH: install git 2.31 or newer."


class Runner:
    """Runs git commands on one bare repository, `directory`. Safe to share between threads."""

    def __init__(self, directory: Path, settings: Sequence[str] = ()) -> None:
        """Find git. `settings` are for every command of `run`, as `name=value`, and are written nowhere.

        Raises:
            NotFound: there is no git on the PATH.
        """
        try:
            from git.cmd import Git
        except ImportError:
            raise NotFound(_NO_GIT) from None
        self.directory = directory
        self.longest = _LONGEST
        """Seconds after which a command is given up: a hook may hang for good, and ssh waits for it."""
        self._settings = tuple(settings)
        self._git: Git = Git()
        self._environment = _environment()
        if not self._configured("core.sshCommand") and not {"GIT_SSH_COMMAND", "GIT_SSH"} & os.environ.keys():
            self._environment["GIT_SSH_COMMAND"] = _SSH

    def _configured(self, name: str) -> bool:
        command, options = self._command(("config", "--get", name), None)
        return bool(self._execute(command, **options)[0] == 0)

    def run(self, *arguments: str, stdin: bytes | None = None, directory: Path | None = None) -> bytes:
        """Run `git <arguments>` and give its standard output.

        `directory` stands in for the repository, such as a private one that shares its objects.

        Raises:
            GitFailed: it ended with anything but 0; the text is standard error, then standard output.
        """
        return self._run(self._command(arguments, directory or self.directory, self._settings), stdin)

    def plainly(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """The same without the settings: git then knows of no remote, and looks only at what is here.

        Raises:
            GitFailed: it ended with anything but 0.
        """
        return self._run(self._command(arguments, self.directory), stdin)

    def detached(self, *arguments: str, stdin: bytes, env: Mapping[str, str]) -> bytes:
        """The same with more environment, and without a terminal that anything it starts could ask on.

        Raises:
            GitFailed: it ended with anything but 0.
        """
        command, options = self._command(arguments, self.directory)
        more = {"env": {**self._environment, **env}, "start_new_session": True}
        return self._run((command, options | more), stdin)

    def _run(self, prepared: tuple[list[str], dict[str, Any]], stdin: bytes | None) -> bytes:
        command, options = prepared
        if stdin is None:
            status, out, err = self._execute(command, **options)
        else:
            with tempfile.TemporaryFile() as file:
                file.write(stdin)
                file.seek(0)
                status, out, err = self._execute(command, istream=file, **options)
        if status != 0:
            raise GitFailed(status, f"{err}\n{out.decode('utf-8', 'replace')}")
        return out

    def start(self, *arguments: str) -> Any:
        """Start `git <arguments>` without the settings and with pipes on both sides; GitPython's handle on it."""
        command, options = self._command(arguments, self.directory)
        return self._git.execute(command, as_process=True, istream=subprocess.PIPE, env=options["env"])

    def outside(self, folder: Path, *arguments: str) -> bytes:
        """Run git in another folder of this machine, such as a person's work tree, and change nothing there.

        Raises:
            GitFailed: it ended with anything but 0.
        """
        command, options = self._command(("--no-optional-locks", "-C", str(folder), *arguments), None)
        status, out, err = self._execute(command, **options)
        if status != 0:
            raise GitFailed(status, err)
        return out

    def _execute(self, command: list[str], **options: Any) -> tuple[int, bytes, str]:
        from git.exc import GitCommandNotFound

        try:
            handle = self._git.execute(command, as_process=True, **options)  # ends the process when it goes away
        except GitCommandNotFound:
            raise NotFound(_NO_GIT) from None
        process = handle.proc
        try:
            out, err = process.communicate(timeout=self.longest)
        except subprocess.TimeoutExpired:
            process.kill()
            for pipe in (process.stdout, process.stderr):  # not read to their end: a child of git's may hold them
                pipe.close()
            process.wait()
            return 124, b"", f"git gave no answer in {self.longest:.0f} seconds"
        return process.returncode, out, err.decode("utf-8", "replace")

    def _command(
        self, arguments: tuple[str, ...], directory: Path | None, more: tuple[str, ...] = ()
    ) -> tuple[list[str], dict[str, Any]]:
        # GitPython can add to the environment but not take away from it; env(1) can
        inherited = [name for name in _LOCAL if name in os.environ]
        prefix = ["env", *(part for name in inherited for part in ("-u", name))] if inherited else []
        settings = [part for option in (*_OPTIONS, *more) for part in ("-c", option)]
        git_dir = [] if directory is None else [f"--git-dir={directory}"]
        options: dict[str, Any] = {"env": self._environment}
        return [*prefix, self._git.GIT_PYTHON_GIT_EXECUTABLE or "git", *settings, *git_dir, *arguments], options


def _environment() -> dict[str, str]:
    """What every git process gets on top of ours: the C locale, and nobody to ask."""
    fixed = {
        "LC_ALL": "C",
        "LANGUAGE": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS": "",
        "GCM_INTERACTIVE": "never",
        "GIT_DEFAULT_REF_FORMAT": "files",
        "GIT_DEFAULT_HASH": "sha1",
    }
    if "GIT_ALLOW_PROTOCOL" not in os.environ:
        fixed["GIT_ALLOW_PROTOCOL"] = ":".join(SCHEMES)
    return fixed
