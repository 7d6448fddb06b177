"""Under which name somebody appears to others."""

from typing import Final

from policies.vocabulary import Role

STAND_INS: Final = {Role.BUYER: "Buyer", Role.SELLER: "Seller"}


def shown_name(name: str, role: Role) -> str:
    """A name as others see it: of a party without one, such as one whose own may not be shown, what they are."""
    return name or STAND_INS.get(role, "")
