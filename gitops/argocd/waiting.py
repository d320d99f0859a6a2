"""Waiting until a release is what a cluster runs, or until it is plain that it will not be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gitops.argocd.truth import Answer, State, worst
from registry.errors import Unavailable

_FIRST, _GROWTH, _LONGEST = 1.0, 1.5, 10.0
"""Seconds between two looks: short after something changed, and longer from one look to the next."""
_ASK_AGAIN = 30.0
"""Seconds after which Argo CD is asked once more to look."""
_FINAL = (State.HEALTHY, State.SUPERSEDED)
_BAD = (State.FAILED, State.DEGRADED)


class Patience(NamedTuple):
    """How long to wait, in seconds."""

    timeout: float = 900.0
    """In all."""
    settle: float = 120.0
    """For something bad to pass by itself: an autoscaler without numbers yet, or a server that restarts."""


class Clock(NamedTuple):
    """The time, and how to let it go by."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait(
    look: Callable[[], Mapping[str, Answer]],
    refresh: Callable[[], None],
    tell: Callable[[str], None],
    patience: Patience = Patience(),  # noqa: B008  # immutable
    clock: Clock = Clock(),  # noqa: B008  # immutable
) -> Answer:
    """The first answer that will not change: healthy, superseded, or bad for as long as `patience` allows.

    At the end of the time it is the last answer, whatever that is. `tell` hears each answer that differs from the one
    before it.

    Raises:
        Refused: no access.
        Unavailable: git or Argo CD was not reached for as long as something bad may last, or at the end of the time.
    """
    return _Wait(look, refresh, tell, patience, clock).run()


class _Wait:
    def __init__(
        self,
        look: Callable[[], Mapping[str, Answer]],
        refresh: Callable[[], None],
        tell: Callable[[str], None],
        patience: Patience,
        clock: Clock,
    ) -> None:
        self._look, self._refresh, self._tell = look, refresh, tell
        self._patience, self._clock = patience, clock
        self._last: Answer | None = None
        self._delay = _FIRST
        self._asked = self._ends = 0.0
        self._bad_since: float | None = None

    def run(self) -> Answer:
        self._ends = self._clock.now() + self._patience.timeout
        while True:
            answer, fault = self._ask()
            now = self._clock.now()
            self._note(answer)
            if answer.state in _FINAL or self._enough(now, bad=fault is not None or answer.state in _BAD):
                if fault is not None:
                    raise fault
                return answer
            self._clock.sleep(max(0.0, min(self._delay, self._ends - now)))
            self._delay = min(self._delay * _GROWTH, _LONGEST)

    def _ask(self) -> tuple[Answer, Unavailable | None]:
        try:
            self._have_it_looked()
            return worst(self._look()), None
        except Unavailable as error:
            return Answer(state=State.UNKNOWN, why=str(error).rstrip(".")), error

    def _have_it_looked(self) -> None:
        """Ask for a refresh at first, and then where an answer needs one and the last was asked for a while ago."""
        now = self._clock.now()
        if self._last is None or (self._last.refresh and now - self._asked >= _ASK_AGAIN):
            self._asked = now
            self._refresh()

    def _note(self, answer: Answer) -> None:
        last, self._last = self._last, answer
        if last is None or (last.state, last.why) != (answer.state, answer.why):
            self._delay = _FIRST
            self._tell(f"{answer.state}{': ' if answer.why else ''}{answer.why}")

    def _enough(self, now: float, *, bad: bool) -> bool:
        self._bad_since = (now if self._bad_since is None else self._bad_since) if bad else None
        return now >= self._ends or (self._bad_since is not None and now - self._bad_since >= self._patience.settle)
