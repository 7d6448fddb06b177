"""What users have lately done that was found wrong, by the flags of their entries and the operator's weights."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from chatserver.clock import Clock
from policies.entry import Entry
from policies.flag import CauseKind
from policies.strikes import Strike, StrikeRules, score, strike
from policies.vocabulary import UserId
from storage.flags import Flags

HALF_LIVES: Final = 10
"""What is older weighs less than a thousandth."""
FLAGS_MOST: Final = 500
"""Of one user, the newest; more would change nothing that staff could not see."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A flagged entry, and what it weighs now. ``categories`` are of what breaks a rule, the surest first."""

    entry: Entry
    strike: Strike
    categories: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class UserStrikes:
    """``score`` is the sum; ``above``: it is as much as staff are to be told of. The newest strike comes first."""

    score: float
    above: bool
    strikes: tuple[Counted, ...]


@dataclass(frozen=True, slots=True)
class Strikes:
    """Adds up strikes. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    flags: Flags
    rules: StrikeRules
    clock: Clock

    async def of(self, user: UserId) -> UserStrikes:
        """The strikes of a user, those that staff have released among them, which weigh nothing."""
        now = self.clock.now()
        found = await self.flags.of_user(user, now - HALF_LIVES * self.rules.half_life, FLAGS_MOST)
        counted = []
        for entry in found:
            one = None if entry.flag is None else strike(entry.at, entry.flag)
            if one is not None:
                weight = score([one], now, self.rules)
                counted.append(Counted(entry, one, categories(entry), round(weight, 3)))
        total = score((each.strike for each in counted), now, self.rules)
        return UserStrikes(round(total, 3), total >= self.rules.report_above, tuple(counted))

    async def scores(self, users: Collection[UserId]) -> dict[UserId, float]:
        """The scores of some users."""
        found = await asyncio.gather(*map(self.of, users))
        return {user: each.score for user, each in zip(users, found, strict=True)}


def categories(entry: Entry) -> tuple[str, ...]:
    """What was found in an entry that breaks a rule, the surest first; a secret breaks none."""
    if entry.flag is None:
        return ()
    causes = sorted(entry.flag.causes, key=lambda cause: -cause.confidence)
    return tuple(dict.fromkeys(cause.category for cause in causes if cause.kind is not CauseKind.SECRET))
