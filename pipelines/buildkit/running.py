"""Running a program that works for minutes: its lines as they come, and an end to it whatever happens."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO

from registry.errors import InvalidInput, SluiceError, Unavailable
from registry.progress import Progress

LINE_MAX = 2000
"""Characters of a line that are kept."""
LINES_KEPT = 400
_GRACE = 10.0
"""Seconds between asking a program to end and making it."""
_OURS = ("AWS_", "SLUICE_", "COSIGN_")
_PREFIX = re.compile(r"(?:#\d+ )?(?:\d+\.\d+ )?")
_SAYS_WHY = re.compile(r"(?:ERROR|E|error|Error|fatal|FATAL)\b:?\s")
_COMMAND_FAILED = re.compile(r"did not complete successfully|executor failed running|building at STEP")
_NEVER_WHY = re.compile(rf"{_COMMAND_FAILED.pattern}|cache importer")
_FRAME = re.compile(r'-+$|Dockerfile:\d+$|time="[^"]*" level=')


def environment(ours: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """What a tool gets of this process's environment: all but Sluice's own settings, the password of the key that signs
    among them, and AWS's credentials."""
    return {**{name: value for name, value in ours.items() if not name.startswith(_OURS)}, **added}


def steps(pattern: re.Pattern[str], what: str, progress: Progress) -> Callable[[str], None]:
    """A listener to a tool's lines, that tells `progress` of each step: the pattern's first group, the first time."""
    told: set[str] = set()

    def tell(line: str) -> None:
        step = pattern.match(line)
        if step and step[1] not in told:
            told.add(step[1])
            progress.fact(f"{what}: {step[1]}")

    return tell


def run(
    argv: Sequence[str], env: Mapping[str, str], seconds: float, tell: Callable[[str], None], *, needed: str
) -> None:
    """Run a program to its end. It is asked to end where this is interrupted or takes more than `seconds`.

    `tell` hears each line that it writes, and `needed` says what for it is run.

    Raises:
        InvalidInput: there is no such program.
        SluiceError: it failed, with the line that says best why.
        Unavailable: it took too long.
    """
    tool = os.path.basename(argv[0])  # noqa: PTH119  # a name, which may be no path
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,  # so that it ends with all that it started
        )
    except OSError as error:  # not there, not allowed, or no program
        raise InvalidInput(
            f"{needed}, and {argv[0]!r}, which would add that to the base image, cannot be run here: set [buildkit]"
            " command in sluice.toml, or put the packages into the base and say requirements: in-base in model.yaml."
        ) from error
    kept: deque[str] = deque(maxlen=LINES_KEPT)
    try:
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        until = time.monotonic() + seconds
        for line in _lines(process.stdout, until):
            kept.append(line)
            tell(line)
        code = process.wait(max(0.0, until - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise Unavailable(
            f"{tool} was not done after {seconds:.0f} seconds: see whether package indexes and registries answer,"
            " and try again."
        ) from error
    finally:
        _end(process)
    if code != 0:
        raise SluiceError(f"{needed}, which {tool} could not add to the base image: {reason(kept) or f'exit {code}'}")


def reason(lines: Iterable[str]) -> str:
    """Of what a builder wrote, the line that says best why it failed."""
    told = [bare for line in lines if (bare := _PREFIX.sub("", line, count=1).strip())]
    last = next((line for line in reversed(told) if not _FRAME.match(line)), told[-1] if told else "")
    if not _COMMAND_FAILED.search(last):
        return last
    # a command in the Dockerfile failed, and it is the command that knows why
    found = (line for line in reversed(told) if _SAYS_WHY.match(line) and not _NEVER_WHY.search(line))
    return next(found, last)


def _lines(pipe: IO[bytes], until: float) -> Iterator[str]:
    """Lines as they come, each cut at LINE_MAX.

    Raises:
        TimeoutError: there was no end at the time `until`.
    """
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left = until - time.monotonic()
            if left <= 0 or not selector.select(left):  # some never stop talking
                raise TimeoutError
            data = os.read(pipe.fileno(), 1 << 16)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            yield from map(_clean, whole)
            rest = rest[: 4 * LINE_MAX]
    if rest:
        yield _clean(rest)


def _clean(line: bytes) -> str:
    """A line without what a terminal would obey."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line[: 4 * LINE_MAX].decode("utf-8", "replace"))
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:LINE_MAX]


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                continue
    if process.stdout is not None:
        process.stdout.close()
