"""Whether a request is sent again, and when.

    failure + what is left of the time ──Retry.wait_s──► seconds until the next attempt, None: no more

Only what cannot have had an effect is repeated: a server that was not reached, one that said that it
does not take the request now (429), and one that takes none (503).  A connection that broke after
the request had left is another matter: the api may have run.  ``repeats_lost`` says that
running it twice does no harm.

Waits double, and each is shortened at random so that many clients do not come back at once ("equal
jitter"); never is it shorter than ``Retry-After`` asks for (RFC 9110, section 10.2.3).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from modelpack.client.errors import CallError, CallLostError, CallOverloadedError
from modelpack.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a request is sent, and how long is waited in between."""

    attempts: int = 4
    """How often in all; 1: never again."""

    first_s: float = 0.1
    """Longest wait before the second attempt; it doubles from one to the next."""

    longest_s: float = 10.0
    """Longest wait, unless the server asks for a longer one."""

    repeats_lost: bool = False
    """Whether a request whose connection broke before the answer is sent again: it may run twice."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise UsageError(f"attempts: must be at least 1, got {self.attempts}")
        if not 0 <= self.first_s <= self.longest_s:
            raise UsageError(f"first_s: must be from 0 to longest_s, got {self.first_s}")

    def wait_s(
        self,
        error: CallError,
        failures: int,
        left_s: float,
        draw: Callable[[], float] = random.random,
    ) -> float | None:
        """Return how long to wait after that many failures; None: the error stands.

        ``left_s`` is the time that the call still has; ``draw`` gives numbers from 0 to 1.
        """
        if failures >= self.attempts or not self._may_repeat(error):
            return None
        usual_s = min(self.longest_s, self.first_s * 2 ** (failures - 1))
        wait_s = usual_s * (1 + draw()) / 2
        if error.retry_after_s is not None and error.retry_after_s > wait_s:
            wait_s = error.retry_after_s + usual_s * draw() / 2
        return wait_s if wait_s < left_s else None

    def _may_repeat(self, error: CallError) -> bool:
        if isinstance(error, CallOverloadedError):
            return True
        if not isinstance(error, CallLostError) or not error.may_help:
            return False
        return self.repeats_lost or not error.may_have_run


def seconds_of(retry_after: str, now: datetime | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` means, a number or a date; None: it says nothing."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
