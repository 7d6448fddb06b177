"""The operator's policy: every duration, window, limit and checklist, in one versioned file.

A dispute pins what it was opened under: the terms stand in its first entry, so that a later file changes nothing for
it, and anyone who has the entries can replay it without the file.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from policies.conduct import ConductRules
from policies.contact.rules import ContactRules
from policies.evidence import PER_KIND, EvidenceRules
from policies.part import Duration, Part
from policies.plain import LARGEST_INT
from policies.secrets import SecretRules
from policies.strikes import StrikeRules
from policies.vocabulary import EvidenceKind, Reason, Role, TrustLevel

REMINDED: Final = {
    "seller_attend": "attend_within",
    "no_update": "update_within",
    "fulfill_by": "fulfill_within",
    "fulfillment_confirm": "confirm_within",
    "evidence_request": "evidence_within",
    "appeal_answer": "appeal_answer_within",
    "proposal_expiry": "offer_expires",
}
"""The deadlines (values of ``policies.dispute.state.Rule``) that somebody can be reminded of, and the term that says
how long each of them is."""


def _check_reminded(rule: str) -> str:
    if rule not in REMINDED:
        raise ValueError(f"nobody is reminded of such a deadline; there are {', '.join(REMINDED)}")
    return rule


Reminded = Annotated[str, AfterValidator(_check_reminded), WithJsonSchema({"type": "string", "enum": list(REMINDED)})]


def _check_name(name: str) -> str:
    if "\0" in name:
        raise ValueError("no entry can hold a name with a NUL character")
    return name


Currency = Annotated[str, AfterValidator(_check_name)]
Sum = Annotated[int, Field(ge=-LARGEST_INT, le=LARGEST_INT)]
"""Terms are pinned in an entry, which holds no larger integer."""


class Opening(Part):
    """Who may open a dispute, and when. Decided on the policy in force, not pinned."""

    not_before: Duration = Field(timedelta(minutes=15), description="How long after placing an order, at the earliest.")
    windows: dict[TrustLevel, Duration] = Field(
        {
            TrustLevel.UNVERIFIED: timedelta(days=14),
            TrustLevel.VERIFIED: timedelta(days=4),
            TrustLevel.TRUSTED: timedelta(days=1),
        },
        description="How long after confirmed delivery, by the seller's trust level.",
    )
    description_chars: int = Field(4000, ge=1, le=20_000, description="Longest description.")
    disputes_per_order: int = Field(5, ge=1, le=100, description="Disputes of one order, one after another.")


class Terms(Part):
    """What holds for a dispute from its opening to its end: pinned in its first entry."""

    attend_within: Duration = Field(timedelta(hours=24), description="The seller's time for a first real act.")
    escalate_from: Duration = Field(timedelta(hours=24), description="After opening, before a party may escalate.")
    update_within: Duration = Field(timedelta(hours=72), description="Longest silence of both parties.")
    offer_expires: Duration = Field(timedelta(hours=72), description="An offer's life where it does not say another.")
    offer_longest: Duration = Field(timedelta(days=14), description="Longest life that an offer may ask for.")
    fulfill_within: Duration = Field(timedelta(hours=72), description="The seller's time to deliver what was agreed.")
    confirm_within: Duration = Field(timedelta(hours=72), description="The buyer's time to confirm what was delivered.")
    evidence_within: Duration = Field(timedelta(hours=48), description="Time for evidence that an agent asks for.")
    appeal_within: Duration = Field(timedelta(hours=72), description="After a decision, to appeal.")
    appeal_answer_within: Duration = Field(
        timedelta(hours=48), description="The other side's time to answer an appeal."
    )
    reopen_within: Duration = Field(timedelta(hours=24), description="After withdrawing, to reopen.")
    close_after: Duration = Field(timedelta(hours=72), description="After an agreement, before the room is read-only.")
    settlement_retry: Duration = Field(
        timedelta(hours=6), description="After a failed payment, before it is asked again."
    )
    settlement_retries: int = Field(5, ge=0, le=100, description="How often a failed payment is asked for again.")
    reminders: dict[Reminded, Duration] = Field(
        {
            "seller_attend": timedelta(hours=6),
            "no_update": timedelta(hours=12),
            "fulfill_by": timedelta(hours=12),
            "fulfillment_confirm": timedelta(hours=12),
            "evidence_request": timedelta(hours=12),
            "appeal_answer": timedelta(hours=12),
            "proposal_expiry": timedelta(hours=6),
        },
        description="How long before a deadline it is told that it approaches; 0 turns it off.",
    )
    second_person_above: dict[Currency, Sum] = Field(
        {}, description="By currency, in minor units: a decision that moves more needs another agent's recommendation."
    )
    settle: str = Field(
        "at_once",
        pattern="^(at_once|when_final)$",
        description="Ask for the money with the decision, or when it can no longer be appealed or reopened.",
    )
    note_chars: int = Field(2000, ge=1, le=4000, description="Longest note, reason or statement.")
    offers_per_side: int = Field(50, ge=1, le=1000, description="Offers that one side may make in a dispute.")
    pending_requests: int = Field(10, ge=1, le=100, description="Evidence requests that may be open at once.")


class Checklist(Part):
    """The kinds of evidence that help most for a reason, by side."""

    buyer: tuple[EvidenceKind, ...] = ()
    seller: tuple[EvidenceKind, ...] = ()

    def of(self, side: Role) -> tuple[EvidenceKind, ...]:
        return self.buyer if side is Role.BUYER else self.seller


class Policy(Part):
    """One version of the operator's policy. Of its sections only the terms are pinned by disputes."""

    version: str = Field("default", min_length=1, max_length=64, description="Named in every dispute opened under it.")
    opening: Opening = Opening()
    terms: Terms = Terms()
    evidence: EvidenceRules = EvidenceRules()
    contact: ContactRules = ContactRules()
    conduct: ConductRules = ConductRules()
    secrets: SecretRules = SecretRules()
    strikes: StrikeRules = StrikeRules()
    checklists: dict[Reason, Checklist] = Field(
        default_factory=lambda: dict(_CHECKLISTS), description="The evidence that helps most, by reason and side."
    )

    def checklist(self, reason: Reason) -> Checklist:
        return self.checklists.get(reason, Checklist())


def parse_policy(content: Mapping[str, Any]) -> Policy:
    """The policy of a parsed file. What it leaves out has its default; so has a trust level without a window, a
    deadline without a reminder (0 turns one off), a kind of evidence without a number (of those that have one), and a
    reason without a checklist.

    Raises:
        pydantic.ValidationError: something in it is unknown or not acceptable.
    """
    read = Policy.model_validate(dict(content))
    reminders = {rule: before for rule, before in {**Terms().reminders, **read.terms.reminders}.items() if before}
    return read.model_copy(
        update={
            "opening": read.opening.model_copy(update={"windows": {**Opening().windows, **read.opening.windows}}),
            "terms": read.terms.model_copy(update={"reminders": reminders}),
            "evidence": read.evidence.model_copy(update={"per_kind": {**PER_KIND, **read.evidence.per_kind}}),
            "checklists": {**_CHECKLISTS, **read.checklists},
        }
    )


_K = EvidenceKind
_CHECKLISTS: Final[dict[Reason, Checklist]] = {
    Reason.NOT_RECEIVED: Checklist(buyer=(_K.SCREENSHOT, _K.CHAT_EXPORT), seller=(_K.PROOF_OF_DELIVERY, _K.TRACKING)),
    Reason.LATE_DELIVERY: Checklist(buyer=(_K.ORDER_DETAILS,), seller=(_K.PROOF_OF_DELIVERY, _K.TRACKING)),
    Reason.NOT_AS_DESCRIBED: Checklist(buyer=(_K.PHOTO, _K.LISTING_SNAPSHOT), seller=(_K.LISTING_SNAPSHOT, _K.PHOTO)),
    Reason.DEFECTIVE: Checklist(buyer=(_K.PHOTO, _K.VIDEO), seller=(_K.PHOTO, _K.DOCUMENT)),
    Reason.INCOMPLETE: Checklist(buyer=(_K.PHOTO,), seller=(_K.PROOF_OF_DELIVERY, _K.PHOTO)),
    Reason.WRONG_SPECIFICATION: Checklist(buyer=(_K.PHOTO, _K.LISTING_SNAPSHOT), seller=(_K.ORDER_DETAILS,)),
    Reason.WRONG_QUANTITY: Checklist(buyer=(_K.PHOTO, _K.ORDER_DETAILS), seller=(_K.PROOF_OF_DELIVERY,)),
    Reason.ACCESS_NOT_TRANSFERRED: Checklist(
        buyer=(_K.SCREEN_RECORDING, _K.SCREENSHOT), seller=(_K.ACCESS_LOG, _K.CHAT_EXPORT)
    ),
    Reason.ACCOUNT_RECLAIMED: Checklist(
        buyer=(_K.SCREEN_RECORDING, _K.ACCOUNT_OWNERSHIP), seller=(_K.ACCOUNT_OWNERSHIP, _K.ACCESS_LOG)
    ),
    Reason.CHARGEBACK: Checklist(buyer=(_K.DOCUMENT,), seller=(_K.PROOF_OF_DELIVERY, _K.ACCESS_LOG)),
}
