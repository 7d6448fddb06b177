"""What is possible in a policy and yet seldom meant."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final

from policies.conduct import ConductRules
from policies.contact.rules import ContactRules
from policies.dispute.policy import REMINDED, Policy, Terms
from policies.evidence import PER_KIND, EvidenceRules
from policies.secrets import SecretKind, SecretRules
from policies.strikes import StrikeRules
from policies.vocabulary import TrustLevel

SHORTEST: Final = timedelta(minutes=15)
"""A person needs at least this long to see a message and to act."""
SHORTEST_RETRY: Final = timedelta(minutes=1)

LEAST_SURE: Final = 0.2
"""Below it are findings that hardly anybody would call one."""
LEAST_ALIKE: Final = 0.5
LEAST_FLOOD: Final = 4
"""People write in short messages, several at a time."""
SHORTEST_HALF_LIFE: Final = timedelta(days=1)

_HOST: Final = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,}")
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
    return [
        *_of_version(policy),
        *_of_opening(policy),
        *_of_times(policy.terms),
        *_of_money(policy.terms),
        *_of_evidence(policy.evidence),
        *_of_contact(policy.contact),
        *_of_conduct(policy.conduct),
        *_of_secrets(policy.secrets),
        *_of_strikes(policy.strikes),
    ]


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


def _of_evidence(rules: EvidenceRules) -> Iterator[Doubt]:
    for kind, limit in rules.per_kind.items():
        if limit > rules.per_side and limit != PER_KIND.get(kind):
            yield Doubt(f"evidence.per_kind.{kind}", "above evidence.per_side, which comes first")


def _of_contact(rules: ContactRules) -> Iterator[Doubt]:
    for host in rules.own_domains:
        if not _HOST.fullmatch(host):
            yield Doubt("contact.own_domains", f"{host!r} is no host name such as shop.example: matches no link")
    named = {f"categories.{name}": limits for name, limits in rules.categories.items()}
    for place, limits in {"default": rules.default, **named}.items():
        if limits.warn < LEAST_SURE:
            yield Doubt(f"contact.{place}.warn", "below 0.2: every number and every name of a service is warned of")


def _of_conduct(rules: ConductRules) -> Iterator[Doubt]:
    if rules.flood_messages < LEAST_FLOOD:
        yield Doubt("conduct.flood_messages", "people write several short messages at a time")
    if rules.alike < LEAST_ALIKE:
        yield Doubt("conduct.alike", "below 0.5: two texts about one thing are taken for repeats")
    for name in ("flood_within", "repeat_within"):
        if not getattr(rules, name):
            yield Doubt(f"conduct.{name}", "0: it never happens within no time")


def _of_secrets(rules: SecretRules) -> Iterator[Doubt]:
    if SecretKind.PASSWORD in rules.hand_over:
        yield Doubt("secrets.hand_over", "with password, an account that was sold cannot be handed over in the chat")
    if SecretKind.CARD not in rules.masked or SecretKind.CARD not in rules.hand_over:
        yield Doubt("secrets", "without card, numbers of cards are shown to the other side")


def _of_strikes(rules: StrikeRules) -> Iterator[Doubt]:
    if rules.half_life < SHORTEST_HALF_LIFE:
        yield Doubt("strikes.half_life", "in less than a day it is forgotten before staff look")
    if rules.report_above <= rules.weights.withheld:
        yield Doubt("strikes.report_above", "not above strikes.weights.withheld: the first hidden message is told")
