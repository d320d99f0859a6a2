"""Waiting, with a clock that goes only when somebody sleeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.argocd.truth import Answer, State
from gitops.argocd.waiting import Clock, Patience, wait
from registry.errors import Refused, Unavailable

WELL = Answer(state=State.HEALTHY)
COMING = Answer(state=State.PROGRESSING, why="coming up")
BEHIND = Answer(state=State.PROGRESSING, why="behind", refresh=True)
BAD = Answer(state=State.DEGRADED, why="no GPU")
LOST = Unavailable("Argo CD cannot be reached: check the network.")
Step = Answer | Exception


class Scene:
    """A script of answers, each for some seconds."""

    def __init__(self, *steps: tuple[Step, float]) -> None:
        self.steps = steps
        self.time = 0.0
        self.looks: list[float] = []
        self.refreshed: list[float] = []
        self.told: list[str] = []

    def look(self) -> Mapping[str, Answer]:
        self.looks.append(self.time)
        ends = accumulate(seconds for _, seconds in self.steps)
        step = next(step for (step, _), end in zip(self.steps, ends, strict=True) if self.time < end)
        if isinstance(step, Exception):
            raise step
        return {"": step}

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.time += seconds

    def run(self, timeout: float = 900.0, settle: float = 120.0) -> Answer:
        return wait(
            self.look,
            lambda: self.refreshed.append(self.time),
            self.told.append,
            Patience(timeout, settle),
            Clock(lambda: self.time, self.sleep),
        )


FOREVER = 1e9


def test_it_ends_as_soon_as_all_is_well() -> None:
    scene = Scene((COMING, 60), (WELL, FOREVER))
    assert scene.run() == WELL
    assert scene.told == ["Progressing: coming up", "Healthy"]
    assert 60 <= scene.time <= 70
    assert scene.refreshed == [0.0], "Argo CD is asked to look before anybody waits"
    assert len(scene.looks) < 15


def test_it_ends_at_once_where_a_newer_commit_took_over() -> None:
    newer = Answer(state=State.SUPERSEDED, why="x", by="b" * 40)
    scene = Scene((newer, FOREVER))
    assert scene.run() == newer
    assert scene.time == 0


@pytest.mark.parametrize("bad", [BAD, Answer(state=State.FAILED, why="denied")])
def test_something_bad_may_pass_and_else_is_the_answer(bad: Answer) -> None:
    assert Scene((bad, 90), (WELL, FOREVER)).run() == WELL
    scene = Scene((COMING, 30), (bad, FOREVER))
    assert scene.run() == bad
    assert 150 <= scene.time <= 170
    flapping = Scene(*[(bad, 90), (COMING, 20)] * 4, (WELL, FOREVER))
    assert flapping.run() == WELL


def test_at_the_end_of_the_time_it_is_the_last_answer() -> None:
    scene = Scene((COMING, FOREVER))
    assert scene.run(timeout=100) == COMING
    assert scene.time == 100
    assert scene.looks[-1] == 100


def test_without_any_time_it_looks_once() -> None:
    scene = Scene((COMING, FOREVER))
    assert scene.run(timeout=0) == COMING
    assert scene.looks == [0.0]


def test_a_refresh_is_asked_for_again_while_argo_cd_is_behind() -> None:
    scene = Scene((BEHIND, 100), (COMING, 100), (WELL, FOREVER))
    assert scene.run() == WELL
    assert [second for second in scene.refreshed if second > 100] == []
    assert 3 <= len(scene.refreshed) <= 5
    gaps = [after - before for before, after in zip(scene.refreshed, scene.refreshed[1:], strict=False)]
    assert min(gaps) >= 30


def test_what_is_not_reached_for_a_while_is_waited_for() -> None:
    assert Scene((LOST, 90), (WELL, FOREVER)).run() == WELL
    scene = Scene((COMING, 20), (LOST, FOREVER))
    with pytest.raises(Unavailable):
        scene.run()
    assert 140 <= scene.time <= 160
    with pytest.raises(Unavailable):
        Scene((LOST, FOREVER)).run(timeout=10)


def test_no_access_is_told_at_once() -> None:
    scene = Scene((Refused("No."), FOREVER))
    with pytest.raises(Refused):
        scene.run()
    assert scene.time == 0


def test_a_refresh_that_fails_is_a_look_that_fails() -> None:
    scene = Scene((WELL, FOREVER))

    def refresh() -> None:
        if scene.time < 5:
            raise LOST

    clock = Clock(lambda: scene.time, scene.sleep)
    assert wait(scene.look, refresh, scene.told.append, Patience(), clock) == WELL


STEPS: Sequence[Step] = (COMING, BEHIND, BAD, LOST, Answer(state=State.UNKNOWN, why="?"))


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.floats(0.5, 300))), st.floats(0, 1000), st.floats(0, 300))
def test_it_ends_in_time_whatever_happens(steps: list[tuple[Step, float]], timeout: float, settle: float) -> None:
    scene = Scene(*steps, (WELL, FOREVER))
    try:
        answer = scene.run(timeout, settle)
    except Unavailable:
        answer = None
    lasting = scene.told[-1].partition(":")[0]
    assert lasting == (State.UNKNOWN if answer is None else answer.state)
    assert scene.time <= timeout + 1e-6
    assert len(scene.looks) <= 8 * (len(steps) + 1) + timeout / 10 + 2, "the waits grow"
