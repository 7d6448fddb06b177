"""What contact detection says: categories, findings, verdicts, and the facts of an order that it is told."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

LONGEST_PART: Final = 120
"""Characters of a message that may be a part of what is spread over several; a longer one is read by itself."""


class Category(StrEnum):
    """What a finding gives away, or asks for."""

    PHONE = "phone"
    EMAIL = "email"
    URL = "url"
    HANDLE = "handle"
    INVITE = "invite"
    PAYMENT = "payment"
    CRYPTO = "crypto"


class Action(StrEnum):
    """What is done with a message, the mildest first."""

    ALLOW = "allow"
    WARN = "warn"
    WITHHOLD = "withhold"


@dataclass(frozen=True, slots=True)
class Finding:
    """One attempt, or a part of one.

    ``start`` and ``end`` count code points of the text as it was written; both are 0 when it lies in an earlier message
    of the window. ``confidence`` is from 0 to 1. ``rule`` names what found it, and never holds any of the text.
    """

    category: Category
    start: int
    end: int
    confidence: float
    rule: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a message, and why.

    ``for_staff`` names categories, rules and confidence; ``for_author`` which part to rephrase. Both are empty when the
    message is allowed without a finding.
    """

    action: Action
    confidence: float
    findings: tuple[Finding, ...]
    for_staff: str
    for_author: str


@dataclass(frozen=True, slots=True)
class OrderContext:
    """Facts of the order that lower the score: what both sides may name, because the order is about it.

    ``category`` is that of the marketplace (``account``: credentials are what was sold). ``own_domains`` are hosts that
    belong to the platform, without a scheme; their subdomains are meant too.
    """

    order_ids: frozenset[str] = field(default_factory=frozenset)
    title: str = ""
    category: str = ""
    in_game_names: frozenset[str] = field(default_factory=frozenset)
    own_domains: frozenset[str] = field(default_factory=frozenset)
