from __future__ import annotations

import pytest

from registry.errors import Conflict, Refused, Unavailable
from registry.retry import retrying


def never(seconds: float) -> None:
    pytest.fail(f"waited {seconds} s")


class Flaky:
    """Fails with the given errors, one a call, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, answer: str) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return answer


def test_a_fault_that_passes_is_tried_again_after_growing_random_waits() -> None:
    waits: list[float] = []
    work = Flaky(*[Unavailable("no answer.")] * 6)
    assert retrying(7, first=1.0, longest=8.0, sleep=waits.append)(work, "done") == "done"
    assert work.calls == 7
    assert all(0 <= wait <= limit for wait, limit in zip(waits, [1, 2, 4, 8, 8, 8], strict=True))
    assert len(set(waits)) == 6


def test_waits_differ_between_writers() -> None:
    first: list[float] = []
    second: list[float] = []
    for waits in (first, second):
        retrying(5, sleep=waits.append)(Flaky(*[Unavailable("")] * 4), "")
    assert first != second


def test_the_last_failure_comes_out_as_it_was_raised() -> None:
    errors = [Unavailable("first"), Unavailable("second"), Unavailable("third")]
    with pytest.raises(Unavailable) as caught:
        retrying(3, sleep=lambda _: None)(Flaky(*errors), "")
    assert caught.value is errors[2]


@pytest.mark.parametrize("error", [Refused("no"), Conflict("no"), ValueError("no"), KeyboardInterrupt()])
def test_nothing_else_is_tried_again(error: BaseException) -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        retrying(5, sleep=never)(work)
    assert calls == [1]


def test_a_marker_class_or_a_predicate_says_what_passes() -> None:
    assert retrying(2, when=Conflict, sleep=lambda _: None)(Flaky(Conflict("")), "done") == "done"
    small = retrying(2, when=lambda error: "small" in str(error), sleep=lambda _: None)
    assert small(Flaky(ValueError("small")), "done") == "done"
    with pytest.raises(ValueError, match="large"):
        small(Flaky(ValueError("large")), "")


def test_each_wait_is_told_with_its_reason() -> None:
    told: list[str] = []
    retrying(3, sleep=lambda _: None, tell=told.append)(Flaky(Unavailable("S3 is away."), Unavailable("Still.")), "")
    assert told == ["S3 is away. Trying again (2 of 3).", "Still. Trying again (3 of 3)."]


def test_it_wraps_a_function() -> None:
    work = Flaky(Unavailable(""))

    @retrying(2, sleep=lambda _: None).wraps
    def wrapped() -> str:
        return work("done")

    assert wrapped() == "done"


def test_one_attempt_never_waits_and_none_is_refused() -> None:
    with pytest.raises(Unavailable):
        retrying(1, sleep=never)(Flaky(Unavailable("")), "")
    with pytest.raises(ValueError, match="attempt"):
        retrying(0)
