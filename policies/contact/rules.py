"""The operator's rules of contact detection: thresholds by category, shadow mode, own domains, further words."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from policies.contact.lexicon import read_lexicon
from policies.contact.vocabulary import Category
from policies.part import Part


class Thresholds(Part):
    """From which confidence on a finding warns, and from which it withholds."""

    warn: float = Field(0.5, ge=0, le=1, description="Delivered, and both sides are reminded.")
    withhold: float = Field(0.85, ge=0, le=1, description="Hidden from the other side; staff and the author see it.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.withhold < self.warn:
            raise ValueError("withhold is at least warn")  # pydantic wants a ValueError
        return self


class ContactRules(Part):
    """How attempts to leave the platform are met."""

    shadow: bool = Field(False, description="Only note what would have been done: every message is allowed.")
    default: Thresholds = Field(Thresholds(), description="For the categories that are not named.")
    categories: dict[Category, Thresholds] = Field({}, description="Thresholds of a category of their own.")
    own_domains: tuple[str, ...] = Field((), description="The platform's hosts; their subdomains are meant too.")
    lexicon: dict[str, dict[str, tuple[str, ...]]] = Field(
        {}, description="Further words, as in a lexicon file: by kind of cue, a table with a list named words."
    )
    warned_raise: float = Field(
        0.15, ge=0, le=0.5, description="Added to every finding when the sender was reminded a short time ago."
    )

    @field_validator("lexicon")
    @classmethod
    def _can_be_read(cls, value: dict[str, dict[str, tuple[str, ...]]]) -> dict[str, dict[str, tuple[str, ...]]]:
        read_lexicon(value)
        return value

    def thresholds(self, category: Category) -> Thresholds:
        return self.categories.get(category, self.default)
