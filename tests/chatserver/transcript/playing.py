"""A dispute that was played by the rules, as the chain of its room."""

from datetime import UTC, datetime, timedelta

from policies.dispute import commands as ask
from policies.entry import Draft, Entry
from policies.order import OrderFacts, Seller
from policies.room import Party
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EvidenceKind,
    OrderCategory,
    Outcome,
    Resolution,
    Role,
    TrustLevel,
    Visibility,
)
from storage.chain import genesis, head_of, link
from tests.chatserver.transcript.cases import AGENT, BUYER, DISPUTE_ROOM, OPENED, ORDER, SELLER
from tests.policies.dispute.story import Story
from tests.storage.making import salts

FACTS = OrderFacts(
    id=ORDER,
    buyer=Party(BUYER.id, BUYER.name),
    seller=Seller(SELLER.id, SELLER.name, TrustLevel.VERIFIED),
    title="Desk lamp “Nordlicht”, brass",
    category=OrderCategory.ITEM,
    amount=8990,
    currency="EUR",
    placed_at=datetime(2026, 1, 24, 18, 2, 11, tzinfo=UTC),
)


def played(*, withheld: bool = False) -> list[Entry]:
    """The entries of a dispute from its opening to an appeal.

    Args:
        withheld: let a message of the seller's be withheld from the buyer.
    """
    story = Story(
        facts=FACTS,
        now=OPENED,
        talked=False,
        author=BUYER,
        dispute=DisputeId(DISPUTE_ROOM.partition("-")[2]),
        description="The lamp flickers as soon as it is touched.",
        desired_resolution=Resolution.PARTIAL_REFUND,
        amount=3000,
    )
    story.wait(timedelta(hours=3)).says(SELLER, "Please send a photo of the switch.")
    photo = {"caption": "The switch, from below", "sha256": "9f" * 32}
    story.did(BUYER, ask.AddEvidence, "ev-1", EvidenceKind.PHOTO, photo)
    told = len(story.entries)
    if withheld:
        story.says(SELLER, "Call me on 0151 5550123")
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, 1500, note="For the inconvenience.")
    story.did(BUYER, ask.RejectProposal, offer, "Half of it at least.")
    story.offers(BUYER, Resolution.PARTIAL_REFUND, 4500)
    story.wait(timedelta(hours=70)).tick()
    story.wait(timedelta(hours=3)).tick()
    story.did(AGENT, ask.JoinAsAgent)
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "Proof that the lamp was tested.")
    story.wait(timedelta(hours=49)).tick()
    story.run(
        ask.Decide(
            AGENT,
            CommandId("decide"),
            Outcome.BUYER_FAVOR,
            Resolution.PARTIAL_REFUND,
            "The photo shows a cracked switch.",
            ("defect_shown",),
            4500,
            ("ev-1",),
        )
    )
    story.wait(timedelta(hours=2)).appeals(SELLER, "ev-2", reason="It was tested.")
    entries: list[Entry] = []
    head, salt = genesis(DISPUTE_ROOM), salts()
    for each in story.entries:
        hidden = withheld and each.seq == told + 1
        visibility = Visibility.WITHHELD if hidden else each.visibility
        draft = Draft(each.author, CommandId(f"p-{each.seq}"), each.kind, each.body, visibility)
        entries += link(DISPUTE_ROOM, head, [draft], each.at, salt)
        head = head_of(entries[-1])
    return entries
