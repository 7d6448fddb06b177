"""Contact detection: attempts to leave the platform, found in messages in many languages and disguises."""

from policies.contact.detector import Detector
from policies.contact.lexicon import Lexicons, load_lexicons
from policies.contact.rules import ContactRules, Thresholds
from policies.contact.vocabulary import Action, Category, Finding, OrderContext, Verdict

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
