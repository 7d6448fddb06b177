"""A dispute between two people, on servers where support may be called in at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from policies.dispute.commands import AddEvidence
from policies.entry import Author
from policies.evidence import Added, Announcement, EvidenceId, MediaType
from policies.vocabulary import CommandId, DisputeId, EvidenceKind
from storage.client import MongoConfig, open_database
from tests.chatserver.disputes.desks import Shop
from tests.system.peer import Peer
from tests.system.site import Order, Server, Site, token, unique

NOTE_CHARS: Final = 60
POLICY: Final = f"""
version = "system-tests"

[terms]
escalate_from = "0s"
note_chars = {NOTE_CHARS}
"""
RULING: Final[dict[str, Any]] = {
    "outcome": "compromise",
    "resolution": "split",
    "amount": 4_000,
    "reason_codes": ["minor_defect"],
    "statement": "Both are right.",
}


def write_policy(folder: Path) -> Path:
    """A policy file for servers: ``policy_file``."""
    path = folder / "policy.toml"
    path.write_text(POLICY)
    return path


@dataclass(frozen=True)
class Case:
    """An open dispute."""

    id: str
    order: Order

    @property
    def room(self) -> str:
        return f"dispute-{self.id}"

    @property
    def staff_room(self) -> str:
        return f"staff-{self.id}"


async def add_evidence(site: Site, case: Case, author: Author, evidence: str) -> None:
    """A piece of evidence as an upload ends; the servers of these tests have no object store."""
    database = open_database(MongoConfig(site.mongo_url, site.database))
    shop = Shop(database)
    said = Announcement("parcel.jpg", "image/jpeg", 1, "0" * 64, EvidenceKind.PHOTO, "", None, "")
    added = Added(EvidenceId(evidence), author.id, author.role, said, MediaType.JPEG, thumbnail=True)
    command = AddEvidence(author, CommandId(evidence), evidence, EvidenceKind.PHOTO, added.body())
    await shop.run(DisputeId(case.id), command)
    await shop.close()
    await database.close()


def open_case(site: Site, server: Server) -> Case:
    """A buyer opens a dispute on a new order."""
    order = site.order(server)
    body = {
        "order_id": order.id,
        "reason": "not_as_described",
        "description": "The lens has a scratch.",
        "desired_resolution": "partial_refund",
        "amount": 4_000,
    }
    headers = {"Authorization": f"Bearer {token(order.buyer, name='Bo')}", "Idempotency-Key": unique("key")}
    answer = site.http.post(f"{server.url}/v1/disputes", json=body, headers=headers)
    return Case(str(answer.raise_for_status().json()["id"]), order)


def report(site: Site, server: Server, order: Order, kind: str, **data: Any) -> None:
    """The marketplace reports an event of an order."""
    event = {"id": unique("event"), "type": kind, "at": "2026-02-01T10:00:00Z", "data": data}
    headers = {"Authorization": f"Bearer {site.api_key}"}
    site.http.post(f"{server.url}/v1/orders/{order.id}/events", json=event, headers=headers).raise_for_status()


def disputes(peer: Peer, room: str) -> list[dict[str, Any]]:
    """How a peer was told the dispute is, with ``joined`` and since, without repeats of the same entry."""
    told: list[dict[str, Any]] = [
        frame["dispute"] for frame in peer.frames if frame.get("room") == room and "dispute" in frame
    ]
    return [view for place, view in enumerate(told) if place == 0 or view["seq"] != told[place - 1]["seq"]]


def actions(peer: Peer, room: str) -> set[str]:
    """What a peer was last told it may do."""
    told = [frame["available_actions"] for frame in peer.frames if frame.get("room") == room and "dispute" in frame]
    return {action["action"] for action in told[-1]}


async def told(peer: Peer, room: str, **fields: Any) -> dict[str, Any]:
    """Wait until a peer was told that the dispute has these fields; how it then was."""

    def match() -> dict[str, Any] | None:
        seen = [view for view in disputes(peer, room) if all(view.get(name) == fields[name] for name in fields)]
        return seen[-1] if seen else None

    return await peer.until(match, f"a dispute with {fields}")
