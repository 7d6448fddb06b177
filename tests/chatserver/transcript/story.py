"""A dispute for the eye: what a dispute may hold, and texts of all sorts. It need not be possible by the rules."""

# ruff: noqa: RUF001  (letters of many scripts look alike; that is the point)

from typing import Any

from policies.entry import Entry
from policies.room import SYSTEM
from policies.vocabulary import EntryKind, Visibility
from tests.chatserver.transcript.cases import AGENT, BUYER, DISPUTE_ROOM, SELLER, STAFF_ROOM, Said, chained

HOSTILE = "\n".join(
    (
        "<script>alert(1)</script><img src=x onerror=alert(1)> & \"double\" 'single' {{ 7*7 }} {% raw %}",
        '#eval("1") #set page(width: 1pt) $x$ *b* _i_ `c` @ref <label> // /* */ \\u{202e} \\',
        "</p></style></script><!-- ]]> &lt; &#x202e;",
        "right to left: \u202eevil\u202c and \u2067isolated\u2069",
        "bell \x07, escape \x1b[31m, delete \x7f, next line \x85end",
        "tabs:\t|\t|  and   many   spaces",
        "\n" * 40,
        "after many lines; Z" + "\u0335\u0301\u0302\u0303" * 12 + "algo",
        "https://example.com/" + "a" * 300,
        "\u00c4" * 200,
    )
)
SCRIPTS = "\n".join(
    (
        "Ελληνικά: η λάμπα τρεμοπαίζει. Русский: лампа мигает. Українська: лампа блимає. Polski: żółć.",
        "Türkçe: ışık. Tiếng Việt: đèn nhấp nháy. Íslenska: þetta er ónýtt. Latviešu: mirgo.",
        "עברית: המנורה מהבהבת (בדקתי 3 פעמים).",
        "العربية: المصباح يومض منذ 3 أيام.",
        "فارسی: چراغ چشمک می‌زند.",
        "中文：灯在闪。日本語：ランプが点滅します。한국어: 램프가 깜박입니다.",
        "हिन्दी: दीपक टिमटिमाता है। ไทย: โคมไฟกะพริบ",
        "Emoji: 😡 👍🏽 👩‍👩‍👧 🇩🇪 ❤️ ∑ ∀x∈ℝ ½ №",
    )
)


def opening() -> dict[str, Any]:
    return {
        "dispute": "0f2d6a8c41b7e95d3a60",
        "order_id": "1042",
        "order_room": "order-1042",
        "staff_room": STAFF_ROOM,
        "reason": "defective",
        "description": "The lamp flickers as soon as it is touched.\n\nI tried three bulbs and two sockets.",
        "desired_resolution": "partial_refund",
        "amount": 3000,
        "order": {
            "title": "Desk lamp “Nordlicht”, brass",
            "category": "item",
            "amount": 8990,
            "currency": "EUR",
            "placed_at": "2026-01-24T18:02:11.000Z",
            "delivered_at": "2026-01-30T15:40:00.000Z",
            "trust_level": "verified",
            "refunded": 0,
        },
        "buyer": {"id": BUYER.id, "name": BUYER.name},
        "seller": {"id": SELLER.id, "name": SELLER.name},
        "policy": {
            "version": "2026-01",
            "terms": {
                "attend_within": 86400,
                "escalate_from": 86400,
                "update_within": 259200,
                "settlement_retries": 5,
                "reminders": {"seller_attend": 21600, "no_update": 43200},
                "second_person_above": {},
                "settle": "at_once",
            },
        },
        "checklist": {"buyer": ["photo", "video"], "seller": ["photo", "document"]},
    }


def story() -> list[Entry]:
    """The dispute room."""
    kind = EntryKind
    return chained(
        DISPUTE_ROOM,
        [
            Said(0, BUYER, kind.DISPUTE_OPENED, opening()),
            Said(0, SYSTEM, kind.NOTICE, {"notice": "talk_first", "order_room": "order-1042"}),
            Said(3, SELLER, kind.MESSAGE, {"text": "Please send a photo of the switch."}),
            Said(3, SYSTEM, kind.DISPUTE_ATTENDED, {"by": "message", "entry": 3}),
            Said(
                4,
                BUYER,
                kind.EVIDENCE_ADDED,
                {
                    "evidence": "ev-1",
                    "kind": "photo",
                    "caption": "The switch, from below",
                    "filename": "IMG_2041.jpg",
                    "content_type": "image/jpeg",
                    "size": 2_481_022,
                    "sha256": "9f" * 32,
                },
            ),
            Said(5, SELLER, kind.MESSAGE, {"text": "Call me on 0151 5550123", "reply_to": 3}, Visibility.WITHHELD),
            Said(5.5, BUYER, kind.MESSAGE, {"text": SCRIPTS}),
            Said(5.6, SELLER, kind.MESSAGE, {"text": HOSTILE}),
            Said(
                6,
                SELLER,
                kind.PROPOSAL_MADE,
                {
                    "resolution": "partial_refund",
                    "amount": 1500,
                    "currency": "EUR",
                    "note": "For the inconvenience.",
                    "expires_at": "2026-02-03T15:30:00.250Z",
                },
            ),
            Said(7, BUYER, kind.PROPOSAL_REJECTED, {"proposal": 9, "reason": "Half of it at least."}),
            Said(
                8,
                BUYER,
                kind.PROPOSAL_MADE,
                {
                    "resolution": "partial_refund",
                    "amount": 4500,
                    "currency": "EUR",
                    "expires_at": "2026-02-03T17:30:00.250Z",
                },
            ),
            Said(68, SYSTEM, kind.DEADLINE_APPROACHING, {"rule": "no_update", "due_at": "2026-02-03T17:30:00.250Z"}),
            Said(80, SYSTEM, kind.PROPOSAL_EXPIRED, {"proposal": 11}),
            Said(
                80.1,
                SYSTEM,
                kind.DISPUTE_ESCALATED,
                {
                    "rule": "no_update",
                    "reason": "",
                    "receipt": {
                        "rule": "no_update",
                        "started_at": "2026-01-31T17:30:00.250Z",
                        "due_at": "2026-02-03T17:30:00.250Z",
                        "moved_by": 11,
                    },
                },
            ),
            Said(90, AGENT, kind.AGENT_JOINED, {}),
            Said(
                91,
                AGENT,
                kind.EVIDENCE_REQUESTED,
                {
                    "of": "seller",
                    "what": "Proof that the lamp was tested before it was sent.",
                    "due_at": "2026-02-06T04:30:00.250Z",
                    "kinds": ["document", "video"],
                },
            ),
            Said(
                140,
                AGENT,
                kind.DECISION_ISSUED,
                {
                    "outcome": "buyer_favor",
                    "resolution": "partial_refund",
                    "amount": 4500,
                    "currency": "EUR",
                    "reason_codes": ["defect_shown", "no_test_record"],
                    "statement": "The photo shows a cracked switch. The seller had no record of a test.",
                    "evidence": ["ev-1"],
                    "final": False,
                    "appeal_until": "2026-02-09T05:30:00.250Z",
                },
            ),
            Said(
                140,
                SYSTEM,
                kind.DISPUTE_RESOLVED,
                {
                    "outcome": "buyer_favor",
                    "resolution": "partial_refund",
                    "amount": 4500,
                    "currency": "EUR",
                    "cause": "decision",
                    "entry": 17,
                    "settlement": {"key": "0f2d6a8c41b7e95d3a60:18", "refund": 4500, "release": 4490},
                },
            ),
            Said(
                150,
                SYSTEM,
                kind.ORDER_UPDATED,
                {
                    "event": {
                        "id": "e-9",
                        "type": "payment.refunded",
                        "at": "2026-02-06T15:29:59.000Z",
                        "data": {"amount": 4500, "key": "0f2d6a8c41b7e95d3a60:18"},
                    }
                },
            ),
        ],
    )


def notes() -> list[Entry]:
    """The staff log."""
    return chained(STAFF_ROOM, [Said(92, AGENT, EntryKind.MESSAGE, {"text": "Seller had two such cases this month."})])


def standing() -> dict[str, Any]:
    """The dispute after the last entry, as staff see it."""
    return {
        "id": "0f2d6a8c41b7e95d3a60",
        "room": DISPUTE_ROOM,
        "seq": 19,
        "order": {
            "id": "1042", "room": "order-1042", "title": "Desk lamp “Nordlicht”, brass", "category": "item",
            "amount": 8990, "currency": "EUR", "placed_at": "2026-01-24T18:02:11.000Z", "trust_level": "verified",
            "refunded": 0,
        },
        "buyer": {"id": BUYER.id, "name": BUYER.name},
        "seller": {"id": SELLER.id, "name": SELLER.name},
        "reason": "defective",
        "description": "The lamp flickers as soon as it is touched.\n\nI tried three bulbs and two sockets.",
        "desired_resolution": "partial_refund",
        "desired_amount": 3000,
        "policy_version": "2026-01",
        "opened_at": "2026-01-31T09:30:00.250Z",
        "stage": "mediation",
        "status": "resolved",
        "frozen": False,
        "held": True,
        "closed": False,
        "reopened": False,
        "last_update_at": "2026-01-31T17:30:00.250Z",
        "attended_at": "2026-01-31T12:30:00.250Z",
        "refundable": 4490,
        "deadlines": [
            {
                "rule": "appeal_window",
                "due_at": "2026-02-09T05:30:00.250Z",
                "started_at": "2026-02-06T05:30:00.250Z",
                "of": 17,
            }
        ],
        "offers": [],
        "requests": [
            {
                "seq": 16,
                "of": "seller",
                "what": "Proof that the lamp was tested before it was sent.",
                "due_at": "2026-02-06T04:30:00.250Z",
                "met": True,
            }
        ],
        "escalation": {"at": "2026-02-03T17:36:00.250Z", "rule": "no_update", "reason": ""},
        "decision": {
            "seq": 17,
            "at": "2026-02-06T05:30:00.250Z",
            "outcome": "buyer_favor",
            "resolution": "partial_refund",
            "amount": 4500,
            "reason_codes": ["defect_shown", "no_test_record"],
            "statement": "The photo shows a cracked switch. The seller had no record of a test.",
            "evidence": ["ev-1"],
            "final": False,
        },
        "outcome": "buyer_favor",
        "resolution": "partial_refund",
        "resolved_amount": 4500,
        "ended_at": "2026-02-06T05:30:00.250Z",
        "settlement": {
            "status": "pending",
            "refund": 4500,
            "release": 4490,
            "refund_done": True,
            "release_done": False,
            "attempts": 1,
        },
    }  # fmt: skip
