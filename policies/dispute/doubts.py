"""What is possible in a policy and yet seldom meant."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final

from policies.dispute.policy import REMINDED, Policy, Terms
from policies.vocabulary import TrustLevel

SHORTEST: Final = timedelta(minutes=15)
"""A person needs at least this long to see a message and to act."""
SHORTEST_RETRY: Final = timedelta(minutes=1)

_TO_ACT: Final = (*REMINDED.values(), "appeal_within", "reopen_within", "close_after")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_BY_TRUST: Final = (TrustLevel.TRUSTED, TrustLevel.VERIFIED, TrustLevel.UNVERIFIED)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A value to look at again. ``place`` names it as the policy file does."""

    place: str
    why: str


def doubts(policy: Policy) -> list[Doubt]:
    """Everything in a policy that is allowed and looks like a mistake."""
    return [*_of_version(policy), *_of_opening(policy), *_of_times(policy.terms), *_of_money(policy.terms)]


def _of_version(policy: Policy) -> Iterator[Doubt]:
    if policy.version == Policy().version and policy != Policy():
        why = "this is not the default policy; with a name of its own, a dispute says which one it was opened under"
        yield Doubt("version", why)


def _of_opening(policy: Policy) -> Iterator[Doubt]:
    windows = policy.opening.windows
    for level, window in windows.items():
        if window < SHORTEST:
            yield Doubt(f"opening.windows.{level}", "in less than 15m nobody can look at what was delivered")
    for more, less in pairwise(_BY_TRUST):
        if more in windows and less in windows and windows[more] > windows[less]:
            why = f"longer than for {less} sellers, who are trusted less"
            yield Doubt(f"opening.windows.{more}", why)


def _of_times(terms: Terms) -> Iterator[Doubt]:
    for name in _TO_ACT:
        if getattr(terms, name) < SHORTEST:
            yield Doubt(f"terms.{name}", "in less than 15m hardly anybody can act")
    for rule, before in terms.reminders.items():
        if before >= getattr(terms, REMINDED[rule]):
            why = f"as long as terms.{REMINDED[rule]} or longer: the reminder comes with the beginning"
            yield Doubt(f"terms.reminders.{rule}", why)
    if terms.escalate_from > terms.update_within:
        yield Doubt("terms.escalate_from", "after terms.update_within: silence escalates before anybody may")
    if terms.offer_expires > terms.offer_longest:
        yield Doubt("terms.offer_expires", "longer than terms.offer_longest, the longest that an offer may ask for")
    if terms.settlement_retries and terms.settlement_retry < SHORTEST_RETRY:
        yield Doubt("terms.settlement_retry", "a payment that just failed will fail again within a minute")


def _of_money(terms: Terms) -> Iterator[Doubt]:
    for currency, amount in terms.second_person_above.items():
        if not _CURRENCY.fullmatch(currency):
            yield Doubt(f"terms.second_person_above.{currency}", "not an ISO 4217 code such as EUR: matches no order")
        if amount < 0:
            yield Doubt(f"terms.second_person_above.{currency}", "below 0: every decision needs a second person")
