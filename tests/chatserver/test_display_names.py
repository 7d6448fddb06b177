"""Which names parties may appear under, and how often that is asked."""

from chatserver.display_names import DisplayNames
from policies.conduct import ConductRules
from policies.contact import ContactRules, Detector
from policies.names import shown_name
from policies.screener import Screener
from policies.secrets import SecretRules
from policies.vocabulary import Role


class Counting(Screener):
    """Says which names it was asked about."""

    def __init__(self, contact: ContactRules | None = None) -> None:
        super().__init__(Detector(contact or ContactRules()), ConductRules(), SecretRules())
        self.asked: list[str] = []

    def name_is_fit(self, name: str) -> bool:
        self.asked.append(name)
        return super().name_is_fit(name)


def test_a_name_is_read_once() -> None:
    screener = Counting()
    names = DisplayNames(lambda: screener)
    assert [names.fit(name) for name in ("Ann", "ann@gmail.com", "Ann", "ann@gmail.com")] == [True, False, True, False]
    assert screener.asked == ["Ann", "ann@gmail.com"]


def test_the_least_recently_used_name_is_forgotten() -> None:
    screener = Counting()
    names = DisplayNames(lambda: screener, most=2)
    for name in ("Ann", "Bo", "Ann", "Cy", "Ann", "Bo"):
        assert names.fit(name)
    assert screener.asked == ["Ann", "Bo", "Cy", "Bo"]


def test_names_are_read_anew_by_other_rules() -> None:
    strict, lax = Counting(), Counting(ContactRules(shadow=True))
    rules: list[Screener] = [strict, lax]
    names = DisplayNames(lambda: rules[0])
    assert not names.fit("ann@gmail.com")
    rules.reverse()
    assert names.fit("ann@gmail.com")


def test_a_party_without_a_name_appears_as_what_it_is() -> None:
    assert [shown_name("", role) for role in (Role.BUYER, Role.SELLER)] == ["Buyer", "Seller"]
    assert shown_name("Ann", Role.BUYER) == "Ann"
    assert shown_name("", Role.AGENT) == ""
