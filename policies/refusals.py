"""The one table of rules by which something is refused: what ``details.rule`` of ``refused`` says, and what it means.

``dispute_eligibility.rule`` of an order is one of the first ones.
"""

from typing import Final

REFUSALS: Final[dict[str, str]] = {
    # Opening a dispute
    "active_dispute": "The order has an active dispute; only said by `dispute_eligibility`, opening is a `conflict`.",
    "order_canceled": "The order was canceled.",
    "charged_back": "The bank has taken this payment back.",
    "already_refunded": "Nothing is left to pay back: all of it was paid back, or has been asked for.",
    "decided": "Support has decided about this order, for good.",
    "too_many_disputes": "The order has had as many disputes as the policy allows.",
    "settlement_waits": "The last dispute may still be reopened, and its money is not asked for yet; `opens_at`.",
    "too_early": "The order is too young; `opens_at`.",
    "window_passed": "The time after confirmed delivery is over; `closes_at`.",
    # Any command
    "ended": "The dispute has ended; `status`.",
    "frozen": "The buyer's bank is deciding about the payment; until then no money can move.",
    # Offers
    "amount_limit": "More than may be paid back; `limit`, `currency`.",
    "offer_limit": "This side has made as many offers as one side can make; `limit`.",
    "not_awaiting_fulfillment": "Nothing is agreed that is still to be done.",
    "already_marked": "It is marked as done; the buyer confirms it.",
    # Calling support in, closing, reopening
    "escalate_from": "It is too early to call support in; `opens_at`.",
    "already_escalated": "Support is on this case.",
    "appeal_pending": "The seller's appeal has to be decided first.",
    "active": "It has not ended, so it cannot be reopened.",
    "not_withdrawn": "Only what its buyer closed can be reopened.",
    "reopen_once": "It was reopened before.",
    "reopen_window": "The time to reopen is over; `closes_at`.",
    # Support
    "not_escalated": "The dispute is still between buyer and seller.",
    "recused": "This agent has recused themselves from the case.",
    "another_agent": "An appeal is decided by another agent than the first decision.",
    "not_claimed": "Only the agent who has claimed the case can do this; `agent` has it.",
    "pending_requests": "As many requests for evidence are open as may be; `limit`.",
    "awaiting_fulfillment": "The parties have agreed, and what they agreed on is still due; `due_at`.",
    "right_to_be_heard": "A `side` was not heard, and still has time to answer; `due_at`.",
    "second_person": "So much money needs an equal recommendation by another agent; `limit`, `currency`.",
    # Appeals
    "no_decision": "There is no decision to appeal.",
    "appealed_already": "A decision can be appealed once.",
    "appeal_window": "The time to appeal is over; `closes_at`.",
    "losing_party": "Only the side that the decision went against can appeal.",
    "new_evidence_required": "An appeal names evidence that its side has added since the decision.",
    # Evidence
    "evidence_limit": "This side has added as much evidence as one side may; `limit`.",
    "evidence_kind_limit": "This side has added as much evidence of this `kind` as it may; `limit`.",
    "uploads_pending": "As many uploads are under way as may be; `limit`.",
    "not_uploaded": "The file has not arrived yet; complete it again when it has.",
    "wrong_size": "The file is not of the size that was announced.",
    "wrong_hash": "The file's SHA-256 is not the one that was announced.",
    "wrong_type": "The file is not of the type that was announced, or of another one too.",
    "active_content": "The file holds what a reader could run, or other files.",
    "unreadable": "The file is damaged, protected, or cannot be read within reasonable limits.",
    "too_many_pixels": "The picture is larger than may be, over all of its frames.",
    "infected": "The virus scanner has found something.",
    "changed": "The file was changed while it was looked at.",
    # Reports, and what staff say of entries
    "nobodys": "The server wrote this entry.",
    "own_entry": "It is the reporter's own.",
    "not_a_partys": "Only what a buyer or seller wrote can be judged.",
    "not_a_message": "Only messages and evidence can be redacted.",
    "not_flagged": "Nothing was found in this entry.",
    "erased": "The content of this entry was erased.",
}
