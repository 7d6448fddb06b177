"""What several decisions check: texts, lists, money, and who may ask at all. Each raises what the person is told."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from policies.dispute.state import Agent, Dispute, Offer
from policies.entry import Author
from policies.errors import BadRequest, Forbidden, Refused, TooLarge
from policies.instant import rfc3339
from policies.vocabulary import DECIDERS, PARTIES, Resolution, Role, Stage

OFFERED: Final = frozenset(
    {Resolution.DELIVERY_FIX, Resolution.REPLACEMENT, Resolution.PARTIAL_REFUND, Resolution.FULL_REFUND}
)
"""What the parties may agree on."""
DONE_BY_SELLER: Final = frozenset({Resolution.DELIVERY_FIX, Resolution.REPLACEMENT})
"""What is not over with the agreement: the seller has to do it."""
EVIDENCE_IDS: Final = 50
EVIDENCE_ID_CHARS: Final = 64
REASON_CODES: Final = 10
REASON_CODE_CHARS: Final = 64


def other_side(side: Role) -> Role:
    return Role.SELLER if side is Role.BUYER else Role.BUYER


def refuse(rule: str, message: str, **details: Any) -> NoReturn:
    """Refuse by a rule; times among the details are told in RFC 3339, and None is left out."""
    known = {name: value for name, value in details.items() if value is not None}
    told = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in known.items()}
    raise Refused(message, details={"rule": rule, **told})


def require_party(author: Author, message: str) -> Role:
    if author.role not in PARTIES:
        raise Forbidden(message)
    return author.role


def require_active(state: Dispute) -> None:
    if not state.active:
        refuse("ended", "This dispute has ended.", status=state.status.value)


def require_unfrozen(state: Dispute) -> None:
    if state.frozen:
        refuse("frozen", "The buyer's bank is deciding about this payment; until then no money can move.")


def require_escalated(state: Dispute) -> None:
    if state.stage is Stage.NEGOTIATION:
        refuse("not_escalated", "This dispute is still between buyer and seller.")


def require_decider(author: Author) -> None:
    if author.role not in DECIDERS:
        raise Forbidden("Only support staff can do this.")


def require_claimed(state: Dispute, author: Author) -> Agent:
    """The claim of the author, who has to hold it."""
    require_decider(author)
    if state.agent is None or state.agent.id != author.id:
        holder = None if state.agent is None else state.agent.id
        refuse("not_claimed", "Claim the case first: only the agent who has claimed it can do this.", agent=holder)
    return state.agent


def require_case(state: Dispute, author: Author) -> None:
    """An active case that support is on, and that the author has claimed."""
    require_decider(author)
    require_active(state)
    require_escalated(state)
    require_claimed(state, author)


def text(value: str, most: int, name: str) -> str:
    """A text that has to say something."""
    if not any(c.isprintable() and not c.isspace() for c in value):
        raise BadRequest(f"Please fill in the {name}.", details={"field": name})
    return optional_text(value, most, name)


def optional_text(value: str, most: int, name: str) -> str:
    if len(value) > most:
        raise TooLarge(f"The {name} may have at most {most} characters.", details={"field": name, "limit": most})
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise BadRequest(f"The {name} holds half of a character.", details={"field": name})
    return value


def ids(values: Sequence[str], most: int, chars: int, name: str, *, least: int = 0) -> list[str]:
    """A short list of short names, each one once, in the order given."""
    if not least <= len(values) <= most:
        raise BadRequest(f"Give {least} to {most} {name}.", details={"field": name, "limit": most})
    for value in values:
        if not value.strip() or len(value) > chars or not value.isprintable():
            message = f"Each of the {name} has 1 to {chars} printable characters."
            raise BadRequest(message, details={"field": name, "limit": chars})
    return list(dict.fromkeys(values))


def evidence_ids(values: Sequence[str]) -> list[str]:
    return ids(values, EVIDENCE_IDS, EVIDENCE_ID_CHARS, "evidence")


def paid_back(resolution: Resolution, amount: int | None, *, paid: int, left: int, currency: str) -> int | None:
    """What a resolution pays back to the buyer, in minor units; None for one that pays nothing back.

    Args:
        resolution: how to end it.
        amount: what was asked for, if anything.
        paid: the order's amount.
        left: what of it has not been paid back yet.
        currency: the order's.

    Raises:
        BadRequest: the amount is missing, not above 0, or one that this resolution does not have.
        Refused: more than what is left, or nothing is left.
    """
    if resolution in (Resolution.PARTIAL_REFUND, Resolution.SPLIT):
        if amount is None or amount <= 0:
            raise BadRequest("Say an amount above 0, in minor units.", details={"field": "amount"})
        _require_left(left)
        most = min(left, paid - 1)
        if amount > most:
            message = "The amount must be less than what was paid, and no more than what is left to pay back."
            refuse("amount_limit", message, limit=most, currency=currency)
        return amount
    if resolution in (Resolution.FULL_REFUND, Resolution.CANCEL_ORDER):
        _require_left(left)
        if amount not in (None, left):
            message = "A full refund is all that is left to pay back."
            raise BadRequest(message, details={"field": "amount", "limit": left, "currency": currency})
        return left
    if amount is not None:
        raise BadRequest("This resolution has no amount.", details={"field": "amount"})
    return None


def require_currency(currency: str | None, of_order: str) -> None:
    if currency not in (None, of_order):
        message = f"The currency of this order is {of_order}."
        raise BadRequest(message, details={"field": "currency", "currency": of_order})


def money_body(amount: int | None, currency: str) -> dict[str, Any]:
    """The fields of a body that say a sum, where there is one."""
    return {} if amount is None else {"amount": amount, "currency": currency}


def offers_body(offers: Sequence[Offer], currency: str) -> list[dict[str, Any]]:
    """Offers as plain data, for whoever acted on an older state."""
    return [
        {
            "proposal": offer.seq,
            "side": offer.side.value,
            "resolution": offer.resolution.value,
            **money_body(offer.amount, currency),
            "expires_at": rfc3339(offer.expires_at),
        }
        for offer in offers
    ]


def _require_left(left: int) -> None:
    if left <= 0:
        refuse("already_refunded", "There is nothing left to pay back: all of it was paid back, or is to be.")
