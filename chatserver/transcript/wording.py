"""An entry in words: its heading, what somebody wrote, and details.

Bodies are taken as they come: a field that is missing is left out, and one that is not known to the words of its kind
is shown under its own name, so that nothing of the record is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chatserver.transcript.phrases import money, phrase, sentence, value_in_words
from chatserver.transcript.text import shown


class Tone(StrEnum):
    """How an entry stands out on the page."""

    MESSAGE = "message"
    OFFER = "offer"
    DECISION = "decision"
    ESCALATION = "escalation"
    EVIDENCE = "evidence"
    DEADLINE = "deadline"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Fact:
    """A detail with its name; ``value`` is fit to be shown. ``code``: it is to be compared letter by letter."""

    label: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """An entry in words: a heading (empty for a plain message), what somebody wrote, and details."""

    tone: Tone
    title: str
    text: str
    facts: tuple[Fact, ...]


class Body:
    """An entry's body while it is put into words: what has been taken is not shown again.

    Args:
        body: the body.
        currency: of the order, for amounts that name none.
    """

    def __init__(self, body: Mapping[str, Any], currency: str) -> None:
        self._rest = dict(body)
        own = body.get("currency")
        self._currency = own if isinstance(own, str) else currency
        self.facts: list[Fact] = []

    def text(self, name: str) -> str:
        """What somebody wrote, or nothing."""
        return shown(self.name(name))

    def name(self, name: str) -> str:
        """A word of a vocabulary as it is, or nothing."""
        found = self._rest.get(name)
        if not isinstance(found, str):
            return ""
        del self._rest[name]
        return found

    def word(self, name: str, otherwise: str = "") -> str:
        """A word of a vocabulary, for people."""
        return phrase(self.name(name)) or otherwise

    def fact(self, label: str, name: str, form: Callable[[Any], str] = value_in_words) -> None:
        """Show a field under a label, if it is there."""
        value = self._rest.pop(name, None)
        if value not in (None, "", [], {}):
            self.facts.append(Fact(label, form(value)))

    def code(self, label: str, name: str) -> None:
        """Show a field that is no word, such as a hash."""
        value = self._rest.pop(name, None)
        if value not in (None, ""):
            self.facts.append(Fact(label, value_in_words(value), code=True))

    def amount(self, label: str, name: str = "amount") -> None:
        """Show an amount of money."""
        if name == "amount":
            self._rest.pop("currency", None)
        self.fact(label, name, lambda value: money(value, self._currency))

    def entry(self, label: str, name: str) -> None:
        """Show a reference to another entry."""
        self.fact(label, name, lambda value: f"entry {value_in_words(value)}")

    def inner(self, name: str) -> "Body":
        """An object within, to be put into words too. Its details are added to these; call its ``rest`` as well."""
        value = self._rest.get(name)
        found = Body(value if isinstance(value, Mapping) else {}, self._currency)
        if isinstance(value, Mapping):
            self._rest.pop(name)
        found.facts = self.facts
        return found

    def rest(self) -> None:
        """Show what nothing was said about."""
        for name in list(self._rest):
            value = self._rest[name]
            if isinstance(value, Mapping) and value:
                within = self.inner(name)
                within._rest = {f"{name}: {inner}": each for inner, each in within._rest.items()}
                within.rest()
            else:
                self.fact(sentence(name), name)
