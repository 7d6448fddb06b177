"""Contact detection: attempts to leave the platform, found in messages in many languages and disguises."""

from typing import TYPE_CHECKING, Any

from policies.contact.lexicon import Lexicons, load_lexicons
from policies.contact.rules import ContactRules, Thresholds
from policies.contact.vocabulary import Action, Category, Finding, OrderContext, Verdict

if TYPE_CHECKING:
    from policies.contact.detector import Detector

__all__ = [
    "Action",
    "Category",
    "ContactRules",
    "Detector",
    "Finding",
    "Lexicons",
    "OrderContext",
    "Thresholds",
    "Verdict",
    "load_lexicons",
]


def __getattr__(name: str) -> Any:
    # Made from numbering plans and the list of public suffixes, which take longer to load than all else together:
    # who only reads the rules of a policy file does not wait for them.
    if name == "Detector":
        from policies.contact.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
