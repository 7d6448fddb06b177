"""What staff and the author are told of a verdict. Neither sentence quotes the message."""

from collections.abc import Sequence
from typing import Final

from policies.contact.vocabulary import Action, Category, Finding

_NAMED: Final = {
    Category.PHONE: "a telephone number",
    Category.EMAIL: "an e-mail address",
    Category.URL: "a link to another site",
    Category.HANDLE: "a name on another service",
    Category.INVITE: "an invitation to talk elsewhere",
    Category.PAYMENT: "payment outside the platform",
    Category.CRYPTO: "a wallet address",
}


def for_staff(findings: Sequence[Finding], action: Action, *, shadow: bool) -> str:
    """Categories, rules and confidence, the surest first."""
    ordered = sorted(findings, key=lambda finding: -finding.confidence)
    said = "; ".join(
        f"{_NAMED[finding.category]} ({finding.rule}, {finding.confidence:.2f})" for finding in ordered[:5]
    )
    more = f"; and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return f"{'Would be' if shadow else 'Decided:'} {action}: {said}{more}."


def for_author(findings: Sequence[Finding], action: Action) -> str:
    """Which part to rephrase, by its kind. Not which words gave it away."""
    kinds = list(
        dict.fromkeys(_NAMED[finding.category] for finding in sorted(findings, key=lambda one: -one.confidence))
    )[:2]
    what = " and ".join(kinds)
    if action is Action.WITHHOLD:
        return (
            f"This message was not shown to the other side: it looks like {what}. "
            "Please say it again without that part."
        )
    return (
        f"This message looks like {what}. "
        "Please keep the talk and the payment on the platform, where both sides are protected."
    )
