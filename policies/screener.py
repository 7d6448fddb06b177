"""Reads what a party writes, and decides what becomes of it: it is shown as it is, with a reminder to both sides, with
parts masked, or withheld.

Three sets of rules read a text: those about contact elsewhere, about conduct, and about secrets. A message that must
not be shown is withheld as a whole. Of any other text (an offer's note, a caption, the description of a dispute) parts
are masked instead, since what it stands beside has to be seen. Only what parties write is screened.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from policies.conduct import Concern, ConductRules, Misconduct, Said, conduct
from policies.contact import Action, Detector, Finding, OrderContext
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.order import OrderFacts
from policies.screening import Screening
from policies.secrets import MASK, SecretKind, SecretRules, find_secrets, mask
from policies.vocabulary import OrderCategory, Visibility

WINDOW_MESSAGES: Final = 8
"""Earlier messages of the sender that are read together with a new one …"""
WINDOW: Final = timedelta(minutes=10)
"""… if they are not older than this."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of a sender in a room: their latest messages, oldest first, and whether one was flagged lately."""

    said: Sequence[Said] = ()
    warned: bool = False


class Screener:
    """Screens texts by one version of the rules. May be shared by threads.

    Args:
        detector: made of the rules about contact.
    """

    def __init__(self, detector: Detector, conduct_rules: ConductRules, secret_rules: SecretRules) -> None:
        self._detector = detector
        self._conduct = conduct_rules
        self._secrets = secret_rules
        self.remembered: Final = max(WINDOW_MESSAGES, conduct_rules.flood_messages)
        """How many messages of a sender ``Earlier`` should hold."""

    def message(self, text: str, earlier: Earlier, order: OrderContext, now: datetime) -> Screening | None:
        """Screen a message; None when nothing was found."""
        context = [said.text for said in earlier.said[-WINDOW_MESSAGES:] if now - said.at <= WINDOW]
        verdict = self._detector.check(text, context, order, earlier.warned)
        concerns = conduct(text, earlier.said, now, self._conduct)
        secrets = find_secrets(text)
        if not (verdict.findings or concerns or secrets):
            return None
        found = self._found("text", verdict.findings, verdict.action, concerns)
        hidden = Action.WITHHOLD in (verdict.action, *(concern.action for concern in concerns))
        kinds = self._secrets.kinds(hand_over=order.category == OrderCategory.ACCOUNT)
        masked = [secret for secret in secrets if secret.kind in kinds]
        found.causes += [_secret(each.kind, "text", each.start, each.end) for each in masked]
        if masked:
            found.mark(Mark.MASKED)
        if hidden:
            found.mark(Mark.WITHHELD)
        visibility = Visibility.WITHHELD if hidden else Visibility.ALL
        shown = mask(text, masked, kinds)
        return found.screening(visibility, {"text": text}, {"text": shown}, reminds=not earlier.warned)

    def texts(self, texts: Mapping[str, str], order: OrderContext, now: datetime) -> Screening | None:
        """Screen texts that are no messages, by field; None when nothing was found in any of them."""
        kinds = self._secrets.kinds(hand_over=order.category == OrderCategory.ACCOUNT)
        all_found = _Found()
        shown: dict[str, str] = {}
        for name, text in texts.items():
            verdict = self._detector.check(text, (), order)
            concerns = [
                each for each in conduct(text, (), now, self._conduct) if each.kind is not Misconduct.LONG_PASTE
            ]
            masked = [secret for secret in find_secrets(text) if secret.kind in kinds]
            found = self._found(name, verdict.findings, verdict.action, concerns)
            found.causes += [_secret(each.kind, name, each.start, each.end) for each in masked]
            hidden = [(each.start, each.end) for each in concerns if each.action is Action.WITHHOLD]
            if verdict.action is Action.WITHHOLD:
                hidden += [(each.start, each.end) for each in verdict.findings if self._counts(each)]
            shown[name] = covered(mask(text, masked, kinds), hidden)
            if masked or hidden:
                found.mark(Mark.MASKED)
            all_found.add(found)
        return all_found.screening(Visibility.ALL, texts, shown)

    def name_is_fit(self, name: str) -> bool:
        """Whether a display name may be shown: it does not hold contact details or insults that would be hidden."""
        if self._detector.check(name).action is Action.WITHHOLD:
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


_ORDER_OF_MARKS: Final = tuple(Mark)
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


class _Found:
    """What was found so far."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self._mark = Mark.NOTED

    def mark(self, mark: Mark) -> None:
        """It comes to at least this."""
        self._mark = max(self._mark, mark, key=_ORDER_OF_MARKS.index)

    def add(self, other: "_Found") -> None:
        self.causes += other.causes
        self.mark(other._mark)

    def screening(
        self, visibility: Visibility, written: Mapping[str, str], shown: Mapping[str, str], *, reminds: bool = True
    ) -> Screening | None:
        if not self.causes:
            return None
        changed = {name: text for name, text in shown.items() if text != written[name]}
        flag = Flag(self._mark, max(cause.confidence for cause in self.causes), tuple(self.causes))
        return Screening(flag, visibility, changed, {name: written[name] for name in changed}, reminds)


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
