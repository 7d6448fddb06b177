"""Strikes: how much a user has lately done that was found wrong, as one number.

Nothing is counted up and stored: the number comes from the flags on the user's entries, so that a word of staff on one
of them changes it, and time makes it smaller.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp2
from typing import Final

from pydantic import Field, field_validator

from policies.flag import CauseKind, Flag, FlagState, Mark
from policies.part import Duration, Part
from policies.screening import QUIET

STRETCH: Final = timedelta(minutes=10)
"""Within this time a user's flags in one room are of one stretch, of which …"""
ENOUGH: Final = 10
"""… so many of each category count: a flood must not flood staff and the marketplace as well. Of what is told to its
author alone, one does."""


class StrikeWeights(Part):
    """What a flag weighs while it is new, by what became of the text."""

    withheld: float = Field(1.0, ge=0, le=100, description="All of a text was hidden.")
    masked: float = Field(1.0, ge=0, le=100, description="Parts of an offer, a caption or another such text were.")
    warned: float = Field(0.25, ge=0, le=100, description="It was shown, and both sides were reminded.")
    noted: float = Field(0.0, ge=0, le=100, description="It was only noted, in shadow mode.")

    def of(self, mark: Mark) -> float:
        return {
            Mark.WITHHELD: self.withheld,
            Mark.MASKED: self.masked,
            Mark.WARNED: self.warned,
            Mark.NOTED: self.noted,
        }[mark]


class StrikeRules(Part):
    """How the flags of a user add up."""

    half_life: Duration = Field(timedelta(days=30), description="After this time a flag weighs half of what it did.")
    report_above: float = Field(
        3.0, gt=0, le=1000, description="From which sum on staff are told that a user goes on and on."
    )
    weights: StrikeWeights = Field(StrikeWeights(), description="What a flag weighs while it is new.")

    @field_validator("half_life")
    @classmethod
    def _is_some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("a half-life is at least 1s")  # pydantic wants a ValueError
        return value


@dataclass(frozen=True, slots=True)
class Strike:
    """One flag, as far as it counts. ``released``: staff found nothing wrong."""

    at: datetime
    mark: Mark
    released: bool = False


def strike(at: datetime, flag: Flag) -> Strike | None:
    """The strike of an entry of ``at`` with a flag.

    None where only secrets were found: who gives away their own harms themselves and breaks no rule.
    """
    if flag.causes and all(cause.kind is CauseKind.SECRET for cause in flag.causes):
        return None
    return Strike(at, flag.mark, flag.state is FlagState.RELEASED)


def counts(flag: Flag, before: Iterable[Flag]) -> bool:
    """Whether a flag adds anything to others of its stretch: there are not enough of them yet that are as grave and of
    the same category. So nothing hides behind very many of something milder.

    Args:
        before: those of the same user and room in the ``STRETCH`` before it that count.
    """
    earlier = Counter(
        category
        for each in before
        if each.mark.gravity >= flag.mark.gravity
        for category in _categories(each)
        # A flood of which staff have released one is no flood; other false alarms say nothing of what comes after them.
        if category in QUIET or each.state is not FlagState.RELEASED
    )
    return any(earlier[each] < (1 if each in QUIET else ENOUGH) for each in _categories(flag))


def _categories(flag: Flag) -> set[str]:
    return {cause.category for cause in flag.causes} or {""}


def score(strikes: Iterable[Strike], now: datetime, rules: StrikeRules) -> float:
    """The sum of the weights of all strikes that staff did not release, each halved with every half-life.

    A strike from after ``now`` (clocks of processes differ a little) weighs as if it were new.
    """
    return sum(
        rules.weights.of(each.mark) * exp2(-max(0.0, (now - each.at) / rules.half_life))
        for each in strikes
        if not each.released
    )
