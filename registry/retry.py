"""The one way Sluice tries again: exponential backoff with full jitter, for faults that pass by themselves.

What may be tried again is said by the caller: an exception class or a predicate. Nothing else is caught, and the
last failure comes out as it was raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from registry.errors import Unavailable

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying


def retrying(
    attempts: int = 5,
    *,
    when: type[Exception] | Callable[[BaseException], bool] = Unavailable,
    first: float = 0.2,
    longest: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[str], None] | None = None,
) -> Retrying:
    """Give a caller of functions: `retrying()(function, *arguments)`, or `@retrying().wraps` over a function.

    The n-th wait is a random time between 0 and `first * 2**(n - 1)` seconds, at most `longest`. Full jitter, so that
    writers who met once do not meet again. `tell` hears one line before each wait.

    Raises:
        ValueError: fewer than one attempt.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    if attempts < 1:
        raise ValueError("at least one attempt is needed")
    passes = (lambda error: isinstance(error, when)) if isinstance(when, type) else when

    def before_sleep(state: RetryCallState) -> None:
        if tell and state.outcome:
            tell(f"{state.outcome.exception()} Trying again ({state.attempt_number + 1} of {attempts}).")

    return Retrying(
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=first, max=longest),
        retry=retry_if_exception(passes),
        before_sleep=before_sleep,
        sleep=sleep,
        reraise=True,
    )
