"""The dispute of a room in a terminal: commands to it, and how it stands."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from chatserver.client import ChatClient, Notice, Room, Sent
from chatserver.client.attaching import media_type_of
from chatserver.protocol import Dispute
from chatserver.terminal.text import clean, local_time
from chatserver.transcript.money import decimals, written
from policies.evidence import IMAGES, VIDEOS
from policies.room import order_room
from policies.vocabulary import PARTIES, EvidenceKind, OrderId, Outcome, Reason, Resolution, RoomKind

HELP: Final = (
    "/dispute       show how the dispute stands",
    "/open REASON WANTED [AMOUNT] TEXT      in an order room: open a dispute",
    "/offer fix|replacement|full|partial [AMOUNT] [NOTE]",
    "/accept [N], /reject [N] [REASON], /withdraw [N] [REASON]    an offer, by its number",
    "/done [NOTE]   seller: what was agreed is done        /confirm [NOTE]   buyer: it has arrived",
    "/attach FILE [KIND] [CAPTION]          add evidence; a name with spaces in quotes",
    "/escalate REASON, /close REASON, /reopen REASON, /appeal EVIDENCE[,...] REASON",
)
STAFF_HELP: Final = (
    "/claim [over], /unclaim [recuse] [REASON]      take the case, give it back",
    "/release N [REASON], /redact N REASON          show an entry to everybody, hide a message or evidence",
    "/ask buyer|seller WHAT      request evidence",
    "/attach FILE [KIND] [CAPTION]      add evidence yourself",
    "/recommend, /decide OUTCOME RESOLUTION [AMOUNT] CODE[,...] STATEMENT",
    "/note TEXT     a note for staff alone",
)
_OFFERS: Final = {
    "fix": Resolution.DELIVERY_FIX,
    "replacement": Resolution.REPLACEMENT,
    "full": Resolution.FULL_REFUND,
    "partial": Resolution.PARTIAL_REFUND,
}
_WITH_AMOUNT: Final = frozenset({Resolution.PARTIAL_REFUND, Resolution.SPLIT})
_RULED: Final = (Outcome.BUYER_FAVOR, Outcome.SELLER_FAVOR, Outcome.COMPROMISE)


class Misused(Exception):
    """A command whose words are not as they should be; the message says how."""


@dataclass(frozen=True, slots=True)
class Words:
    """What stands behind a command's name, taken from the front."""

    text: str

    def first(self) -> tuple[str, "Words"]:
        """The first word, perhaps empty, and the rest."""
        word, _, rest = self.text.partition(" ")
        return word, Words(rest.strip())

    def quoted(self) -> tuple[str, "Words"]:
        """The first word, or what stands between quotes, and the rest."""
        if not self.text.startswith('"'):
            return self.first()
        inside, _, rest = self.text[1:].partition('"')
        return inside, Words(rest.strip())

    def number(self) -> tuple[int | None, "Words"]:
        """An entry's number, with or without ``#``, if it begins with one."""
        word, rest = self.first()
        digits = word.removeprefix("#")
        return (int(digits), rest) if digits.isascii() and digits.isdecimal() else (None, self)


class CaseCommands:
    """Commands to a room and its dispute.

    Args:
        zone: time zone of the times; None is the machine's.
    """

    def __init__(self, client: ChatClient, room: Room, zone: tzinfo | None = None) -> None:
        self._client = client
        self._room = room
        self._zone = zone
        self.written = 0
        """Seq of the last entry that a command wrote to the room."""
        self._commands: Mapping[str, Callable[[Words], Awaitable[Sent]]] = {
            "offer": self._offer,
            "accept": self._accept,
            "reject": self._reject,
            "withdraw": self._withdraw,
            "done": lambda words: room.case.mark_fulfilled(words.text),
            "confirm": lambda words: room.case.confirm_fulfilled(words.text),
            "escalate": lambda words: room.case.escalate(_required(words, "/escalate REASON")),
            "close": lambda words: room.case.close(_required(words, "/close REASON")),
            "reopen": lambda words: room.case.reopen(_required(words, "/reopen REASON")),
            "appeal": self._appeal,
            "claim": self._claim,
            "unclaim": self._unclaim,
            "ask": self._ask,
            "recommend": lambda words: self._rule(room.case.recommend, "recommend", words),
            "decide": lambda words: self._rule(room.case.decide, "decide", words),
            "note": lambda words: room.case.add_note(_required(words, "/note TEXT")),
        }

    @property
    def help(self) -> tuple[str, ...]:
        """The commands that this user may have a use for."""
        return HELP if self._room.role in PARTIES else HELP[:1] + STAFF_HELP

    async def run(self, name: str, argument: str) -> tuple[str, ...] | None:
        """Carry out a command.

        Returns:
            What to answer; None when there is no such command.

        Raises:
            Misused: its words are not as they should be.
            ChatError: the server refused.
        """
        words = Words(argument)
        if name == "dispute" and not argument:
            return tuple(self._status())
        if name == "open":
            return await self._open(words)
        if name == "attach":
            return await self._attach(words)
        if name in ("release", "redact"):
            return await self._rule_on_message(name, words)
        command = self._commands.get(name)
        if command is None:
            return None
        sent = await command(words)
        notice = tuple(f"#{sent.seq}: {line}" for line in _told(sent.notice))
        if sent.room != self._room.id:
            return (f"stored as #{sent.seq} of {clean(sent.room)}", *notice)
        self.written = sent.seq
        return notice

    async def _open(self, words: Words) -> tuple[str, ...]:
        usage = "/open REASON fix|replacement|full|partial [AMOUNT] TEXT"
        if self._room.kind is not RoomKind.ORDER:
            raise Misused("a dispute is opened in the room of its order")
        reason, words = words.first()
        if reason not in list(Reason):
            raise Misused(f"{usage}; a reason is one of {', '.join(Reason)}")
        kind, words = words.first()
        resolution = _chosen(kind, usage)
        amount = None
        if resolution in _WITH_AMOUNT:
            word, words = words.first()
            if not word.isascii() or not word.isdecimal():
                raise Misused(f"{usage}; here an amount is in minor units, such as 1250")
            amount = int(word)
        order = self._room.id.removeprefix(order_room(OrderId("")))
        opened = await self._client.open_dispute(
            order, reason, _required(words, usage), resolution.value, amount=amount
        )
        return (f"dispute opened; its room is {clean(opened.room)}", *_told(opened.notice))

    async def _attach(self, words: Words) -> tuple[str, ...]:
        file, kind, caption = _attachment(words)
        try:
            attached = await self._room.attach(file, kind=kind, caption=caption)
        except OSError as error:
            raise Misused(f"{file}: {error.strerror or 'cannot be read'}") from None
        if attached.seq is None:
            return (f"evidence {attached.id} waits for the virus scanner",)
        self.written = attached.seq
        return (f"evidence {attached.id} is #{attached.seq}", *_told(attached.notice))

    async def _rule_on_message(self, name: str, words: Words) -> tuple[str, ...]:
        usage = "/release N [REASON]" if name == "release" else "/redact N REASON"
        number, words = words.number()
        if number is None:
            raise Misused(f"{usage}; to give the case back: /unclaim" if name == "release" else usage)
        if name == "release":
            sent = await self._room.release(number, words.text)
        else:
            sent = await self._room.redact(number, _required(words, usage))
        if sent is None:
            return (f"everybody can see #{number}" if name == "release" else f"#{number} is hidden",)
        self.written = sent.seq
        return ()

    async def _offer(self, words: Words) -> Sent:
        usage = "/offer fix|replacement|full|partial [AMOUNT] [NOTE]"
        kind, words = words.first()
        resolution = _chosen(kind, usage)
        amount, words = self._amount(resolution, words, usage)
        return await self._room.case.propose(resolution.value, amount=amount, note=words.text)

    async def _accept(self, words: Words) -> Sent:
        number, words = self._proposal(words, own=False)
        if words.text:
            raise Misused("/accept [N]")
        return await self._room.case.accept(number)

    async def _reject(self, words: Words) -> Sent:
        number, words = self._proposal(words, own=False)
        return await self._room.case.reject(number, words.text)

    async def _withdraw(self, words: Words) -> Sent:
        number, words = self._proposal(words, own=True)
        return await self._room.case.withdraw(number, words.text)

    def _proposal(self, words: Words, *, own: bool) -> tuple[int, Words]:
        """The offer that is meant: the one that is named, or the only one of that side."""
        number, words = words.number()
        if number is not None:
            return number, words
        for offer in self._dispute().offers:
            if (offer.side == self._room.role) is own:
                return offer.seq, words
        raise Misused("you have no pending offer" if own else "there is no pending offer of the other side")

    async def _appeal(self, words: Words) -> Sent:
        evidence, words = words.first()
        return await self._room.case.appeal(
            _required(words, "/appeal EVIDENCE[,EVIDENCE...] REASON"), _listed(evidence)
        )

    async def _claim(self, words: Words) -> Sent:
        if words.text not in ("", "over"):
            raise Misused("/claim, or to take the case over: /claim over")
        return await self._room.case.claim(take_over=words.text == "over")

    async def _unclaim(self, words: Words) -> Sent:
        first, rest = words.first()
        recuse = first == "recuse"
        return await self._room.case.release(rest.text if recuse else words.text, recuse=recuse)

    async def _ask(self, words: Words) -> Sent:
        side, words = words.first()
        if side not in PARTIES:
            raise Misused("/ask buyer|seller WHAT")
        return await self._room.case.request_evidence(side, _required(words, "/ask buyer|seller WHAT"))

    async def _rule(self, rule: Callable[..., Awaitable[Sent]], name: str, words: Words) -> Sent:
        usage = f"/{name} OUTCOME RESOLUTION [AMOUNT] CODE[,CODE...] STATEMENT"
        outcome, words = words.first()
        if outcome not in _RULED:
            raise Misused(f"{usage}; an outcome is one of {', '.join(_RULED)}")
        word, words = words.first()
        if word not in list(Resolution):
            raise Misused(f"{usage}; a resolution is one of {', '.join(Resolution)}")
        resolution = Resolution(word)
        amount, words = self._amount(resolution, words, usage)
        codes, words = words.first()
        return await rule(outcome, resolution.value, _required(words, usage), _listed(codes), amount=amount)

    def _amount(self, resolution: Resolution, words: Words, usage: str) -> tuple[int | None, Words]:
        """An amount in minor units, where the resolution needs one: written as people do, such as 12.50."""
        if resolution not in _WITH_AMOUNT:
            return None, words
        currency = self._dispute().order.currency
        word, words = words.first()
        try:
            amount = Decimal(word).scaleb(decimals(currency))
        except InvalidOperation:
            raise Misused(f"{usage}; which amount of {currency}?") from None
        if amount != amount.to_integral_value():
            raise Misused(f"{currency} has {decimals(currency)} decimals")
        return int(amount), words

    def _dispute(self) -> Dispute:
        if self._room.dispute is None:
            raise Misused("this room has no dispute")
        return self._room.dispute

    def _status(self) -> Iterable[str]:
        dispute = self._dispute()
        currency = dispute.order.currency
        yield f"{dispute.stage}: {_spaced(dispute.status)}{', frozen by a chargeback' if dispute.frozen else ''}"
        order = f"{clean(dispute.order.title)} for {written(dispute.order.amount, currency)}"
        yield f"about {order}: {_spaced(dispute.reason)}"
        for offer in dispute.offers:
            amount = "" if offer.amount is None else f" of {written(offer.amount, currency)}"
            until = local_time(offer.expires_at, self._zone)
            yield f"offer #{offer.seq} by the {offer.side}: {_spaced(offer.resolution)}{amount}, until {until}"
        if dispute.agent is not None:
            yield f"with {clean(dispute.agent.name)} of support"
        if dispute.outcome is not None:
            amount = "" if dispute.resolved_amount is None else f", {written(dispute.resolved_amount, currency)}"
            how = "" if dispute.resolution is None else f": {_spaced(dispute.resolution)}{amount}"
            yield f"outcome {_spaced(dispute.outcome)}{how}"
        if dispute.settlement is not None:
            yield f"settlement {dispute.settlement.status}"
        for deadline in dispute.deadlines:
            yield f"due {local_time(deadline.due_at, self._zone)}: {_spaced(deadline.rule)}"
        for action in self._room.available_actions:
            due = "" if action.due_at is None else f" by {local_time(action.due_at, self._zone)}"
            yield f"you {'have to' if action.mandatory else 'may'} {clean(action.action)}{due}"


def _told(notice: Notice | None) -> tuple[str, ...]:
    """What became of a text that breaks a rule."""
    return () if notice is None else (clean(notice.message),)


def _chosen(word: str, usage: str) -> Resolution:
    """What a word means: the short ones, or those of the protocol."""
    resolution = _OFFERS.get(word, next((each for each in _OFFERS.values() if each.value == word), None))
    if resolution is None:
        raise Misused(usage)
    return resolution


def _attachment(words: Words) -> tuple[Path, EvidenceKind, str]:
    """A file, its kind and its caption."""
    file, words = words.quoted()
    if not file:
        raise Misused("/attach FILE [KIND] [CAPTION]")
    kind, rest = words.first()
    if kind in list(EvidenceKind):
        return Path(file).expanduser(), EvidenceKind(kind), rest.text
    return Path(file).expanduser(), _usual_kind(file), words.text


def _usual_kind(file: str) -> EvidenceKind:
    """What a file of this type mostly is."""
    media_type = media_type_of(file)
    if media_type in IMAGES:
        return EvidenceKind.PHOTO
    return EvidenceKind.VIDEO if media_type in VIDEOS else EvidenceKind.DOCUMENT


def _required(words: Words, usage: str) -> str:
    if not words.text:
        raise Misused(usage)
    return words.text


def _listed(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def _spaced(word: str) -> str:
    return clean(word).replace("_", " ")
