"""Reads what a party writes, and decides what becomes of it: it is shown as it is, with a reminder to both sides, with
parts masked, or withheld.

Three sets of rules read a text: those about contact elsewhere, about conduct, and about secrets. A message that must
not be shown is withheld as a whole. Of any other text (an offer's note, a caption, the description of a dispute) parts
are masked instead, since what it stands beside has to be seen. Only what parties write is screened.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from policies.conduct import Concern, ConductRules, Misconduct, Said, conduct
from policies.contact import Action, Category, Finding, OrderContext
from policies.contact.normal import normalise
from policies.contact.vocabulary import LONGEST_PART
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.order import OrderFacts
from policies.payloads import leads_to
from policies.screening import Screening
from policies.secrets import MASK, Secret, SecretKind, SecretRules, find_secrets, mask
from policies.vocabulary import OrderCategory, Visibility

if TYPE_CHECKING:  # it takes long to load, and whoever reads no text does not wait for it
    from policies.contact import Detector

WINDOW_MESSAGES: Final = 8
"""Earlier messages of the sender that are read together with a new one …"""
WINDOW: Final = timedelta(minutes=10)
"""… if they are not older than this."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of a sender in a room: their latest messages, oldest first, and for what they were reminded of the
    rules a short time ago."""

    said: Sequence[Said] = ()
    reminded: frozenset[CauseKind] = frozenset()


class Screener:
    """Screens texts by one version of the rules. May be shared by threads.

    Args:
        detector: made of the rules about contact.
    """

    def __init__(self, detector: "Detector", conduct_rules: ConductRules, secret_rules: SecretRules) -> None:
        self._detector = detector
        self._conduct = conduct_rules
        self._secrets = secret_rules
        self.remembered: Final = max(WINDOW_MESSAGES, conduct_rules.flood_messages)
        """How many messages of a sender ``Earlier`` should hold."""

    def message(self, text: str, earlier: Earlier, order: OrderContext, now: datetime) -> Screening | None:
        """Screen a message; None when nothing was found."""
        normal = normalise(text)
        context: Sequence[str] = ()
        if len(normal.text.strip()) <= LONGEST_PART:
            since = now - WINDOW
            context = [said.text for said in earlier.said[-WINDOW_MESSAGES:] if said.at >= since]
        verdict = self._detector.check(text, context, order, CauseKind.CONTACT in earlier.reminded, normal)
        concerns = conduct(text, earlier.said, now, self._conduct, normal)
        secrets = find_secrets(text)
        if not (verdict.findings or concerns or secrets):
            return None
        found = self._found("text", verdict.findings, verdict.action, concerns)
        hidden = Action.WITHHOLD in (verdict.action, *(concern.action for concern in concerns))
        kinds = self._secrets.kinds(hand_over=order.category == OrderCategory.ACCOUNT)
        masked = _to_mask(secrets, kinds, verdict.findings)
        found.causes += [_secret(each.kind, "text", each.start, each.end) for each in masked]
        if masked:
            found.mark(Mark.MASKED)
        if hidden:
            found.mark(Mark.WITHHELD)
        visibility = Visibility.WITHHELD if hidden else Visibility.ALL
        shown = mask(text, masked, kinds)
        return found.screening(visibility, {"text": text}, {"text": shown}, earlier.reminded)

    def texts(self, texts: Mapping[str, str], order: OrderContext, now: datetime) -> Screening | None:
        """Screen texts that are no messages, by field; None when nothing was found in any of them."""
        all_found = _Found()
        shown: dict[str, str] = {}
        for name, text in texts.items():
            found, shown[name] = self._read(name, text, order, now)
            all_found.add(found)
        return all_found.screening(Visibility.ALL, texts, shown)

    def evidence(
        self, texts: Mapping[str, str], filename: str, codes: Sequence[str], order: OrderContext, now: datetime
    ) -> Screening | None:
        """Screen a piece of evidence; None when nothing was found.

        Where a picture shows a code that leads elsewhere, nothing of the entry is shown: nobody can mask the picture.

        Args:
            texts: as for ``texts``; ``filename`` among them is the name under which it is given out.
            filename: the name as it was announced, in which what was found tells of the other one too.
            codes: what its QR and bar codes hold.
        """
        all_found = _Found()
        shown: dict[str, str] = {}
        for name, text in texts.items():
            if name != "filename":
                found, shown[name] = self._read(name, text, order, now)
                all_found.add(found)
        if "filename" in texts:
            found, shown["filename"] = self._read_filename(filename, texts["filename"], order, now)
            all_found.add(found)
        hidden = False
        for code in codes:
            found = self._read_code(code, order)
            all_found.add(found)
            hidden = hidden or found.comes_to(Mark.WITHHELD)
        return all_found.screening(Visibility.WITHHELD if hidden else Visibility.ALL, texts, shown)

    def _read(self, name: str, text: str, order: OrderContext, now: datetime) -> "tuple[_Found, str]":
        """What was found in a text that is no message, and what is shown of it."""
        normal = normalise(text)
        verdict = self._detector.check(text, (), order, normal=normal)
        concerns = [
            each for each in conduct(text, (), now, self._conduct, normal) if each.kind is not Misconduct.LONG_PASTE
        ]
        kinds = self._secrets.kinds(hand_over=order.category == OrderCategory.ACCOUNT)
        masked = _to_mask(find_secrets(text), kinds, verdict.findings)
        found = self._found(name, verdict.findings, verdict.action, concerns)
        found.causes += [_secret(each.kind, name, each.start, each.end) for each in masked]
        hidden = [(each.start, each.end) for each in concerns if each.action is Action.WITHHOLD]
        if verdict.action is Action.WITHHOLD:
            hidden += [(each.start, each.end) for each in verdict.findings if self._counts(each)]
        if masked or hidden:
            found.mark(Mark.MASKED)
        return found, covered(mask(text, masked, kinds), hidden)

    def _read_code(self, code: str, order: OrderContext) -> "_Found":
        """What was found in a code. There is no text that the places of it could be places in."""
        verdict = self._detector.check(code, (), order)
        category = leads_to(code)
        sure = () if category is None else (Finding(category, 0, 0, _SURE, "code.form"),)
        found = self._found("code", (*verdict.findings, *sure), verdict.action, ())
        found.causes = list(dict.fromkeys(replace(cause, start=0, end=0) for cause in found.causes))
        rules = self._detector.rules
        hides = any(rules.thresholds(each.category).withhold <= _SURE for each in sure) and not rules.shadow
        if hides or verdict.action is Action.WITHHOLD:
            found.mark(Mark.WITHHELD)
        return found

    def _read_filename(self, announced: str, shown: str, order: OrderContext, now: datetime) -> "tuple[_Found, str]":
        """The same for the name of a file, which is masked as a whole but for its extension, or not at all: pictures of
        a chat are named after where it was, which is nothing to remind anybody of."""
        stem = announced.rpartition(".")[0]
        found, read = self._read("filename", stem.replace("_", " "), order, now)
        if read == stem.replace("_", " "):
            return _Found(), shown
        found.causes = [replace(cause, start=0, end=0) for cause in found.causes]
        stem, dot, extension = shown.rpartition(".")
        return found, covered(stem, [(0, 0)]) + dot + extension

    def name_is_fit(self, name: str) -> bool:
        """Whether a display name may be shown: it holds no insult that would be hidden, and no contact details, of
        which in a name fewer signs are enough than in a text, since it says nothing else."""
        verdict = self._detector.check(name)
        if verdict.action is not Action.ALLOW and any(
            self._counts(each) and (verdict.action is Action.WITHHOLD or each.category in _ADDRESSES)
            for each in verdict.findings
        ):
            return False
        return all(each.action is not Action.WITHHOLD for each in conduct(name, (), _NO_TIME, self._conduct))

    def _counts(self, finding: Finding) -> bool:
        return finding.confidence >= self._detector.rules.thresholds(finding.category).warn

    def _found(self, name: str, findings: Iterable[Finding], action: Action, concerns: Iterable[Concern]) -> "_Found":
        found = _Found()
        for finding in findings:
            if self._counts(finding):
                confidence = round(finding.confidence * 100)
                found.causes.append(
                    Cause(
                        CauseKind.CONTACT,
                        finding.category.value,
                        name,
                        finding.start,
                        finding.end,
                        confidence,
                        finding.rule,
                    )
                )
                found.mark(Mark.NOTED if self._detector.rules.shadow else Mark.WARNED)
        for concern in concerns:
            if concern.action is not Action.ALLOW:
                found.causes.append(
                    Cause(CauseKind.CONDUCT, concern.kind.value, name, concern.start, concern.end, 100, concern.rule)
                )
                found.mark(Mark.WARNED)
        return found


_SURE: Final = 0.97
"""Of what the form of a code says."""
_ADDRESSES: Final = frozenset({Category.PHONE, Category.EMAIL, Category.URL, Category.CRYPTO})
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


class _Found:
    """What was found so far."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self._mark = Mark.NOTED

    def mark(self, mark: Mark) -> None:
        """It comes to at least this."""
        self._mark = max(self._mark, mark, key=lambda each: each.gravity)

    def comes_to(self, mark: Mark) -> bool:
        """Whether it comes to at least this."""
        return self._mark.gravity >= mark.gravity

    def add(self, other: "_Found") -> None:
        self.causes += other.causes
        self.mark(other._mark)

    def screening(
        self,
        visibility: Visibility,
        written: Mapping[str, str],
        shown: Mapping[str, str],
        reminded: frozenset[CauseKind] = frozenset(),
    ) -> Screening | None:
        if not self.causes:
            return None
        changed = {name: text for name, text in shown.items() if text != written[name]}
        flag = Flag(self._mark, max(cause.confidence for cause in self.causes), tuple(self.causes))
        return Screening(flag, visibility, changed, {name: written[name] for name in changed}, reminded)


def context_of(order: OrderFacts) -> OrderContext:
    """What the detector is told of an order. Whatever the marketplace says of it, both sides may name."""
    declared = frozenset(_strings(order.details))
    return OrderContext(
        order_ids=frozenset({order.id, *(text for text in declared if any(map(str.isdigit, text)))}),
        title=order.title,
        category=order.category.value,
        in_game_names=declared,
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _to_mask(secrets: Iterable[Secret], kinds: Collection[SecretKind], findings: Iterable[Finding]) -> list[Secret]:
    """The secrets that are masked. What was taken for a telephone number is no card, whatever its check digit says."""
    phones = [(each.start, each.end) for each in findings if each.category is Category.PHONE]
    return [
        each
        for each in secrets
        if each.kind in kinds
        and not (each.kind is SecretKind.CARD and any(start < each.end and each.start < end for start, end in phones))
    ]


def covered(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with spans masked; an empty span stands for all of it. The text keeps its length."""
    chars = list(text)
    for start, end in spans:
        for place in range(start, end) if end > start else range(len(chars)):
            if not chars[place].isspace():
                chars[place] = MASK
    return "".join(chars)


def _secret(kind: SecretKind, name: str, start: int, end: int) -> Cause:
    return Cause(CauseKind.SECRET, kind.value, name, start, end, 100, f"secret.{kind.value}")
