"""What a QR or bar code leads to, where the form of its payload says so. Addresses in it are the detector's to find."""

import re
from collections.abc import Mapping
from typing import Final

from policies.contact import Category

_SCHEMES: Final[Mapping[Category, tuple[str, ...]]] = {
    Category.PHONE: ("tel", "callto", "sms", "smsto", "mms", "mmsto", "facetime", "facetime-audio"),
    Category.EMAIL: ("mailto", "matmsg", "smtp"),
    Category.INVITE: (
        "whatsapp", "tg", "telegram", "weixin", "wechat", "viber", "line", "skype", "sgnl", "threema", "discord",
        "mqqapi", "kakaotalk", "zalo", "fb-messenger", "instagram", "snapchat", "xmpp", "matrix", "sip", "sips", "imo",
        "zoommtg",
    ),
    Category.PAYMENT: (
        "upi", "wxp", "alipay", "alipays", "alipayqr", "paypal", "venmo", "cashme", "squarecash", "swish", "vipps",
        "mobilepay", "bizum", "payto", "paytmmp", "phonepe", "gpay",
    ),
    Category.CRYPTO: (
        "bitcoin", "bitcoincash", "litecoin", "dogecoin", "dash", "zcash", "monero", "ethereum", "tron", "solana",
        "ripple", "xrpl", "stellar", "web+stellar", "tezos", "cardano", "web+cardano", "ton", "nano", "lightning",
        "lnurlp", "lnurlw", "lnurlc", "keyauth",
    ),
}  # fmt: skip
_BY_SCHEME: Final = {scheme: category for category, schemes in _SCHEMES.items() for scheme in schemes}
_SCHEME: Final = re.compile(r"\s*([a-z][a-z0-9+.-]{1,31}):")
_MERCHANT: Final = re.compile(r"000201.*6304[0-9a-f]{4}\s*", re.DOTALL)
"""A payment by the EMV specification for merchant-presented codes: Pix, UPI, PromptPay, PayNow and many more."""
_TRANSFERS: Final = ("bcd\n", "bcd\r\n", "spc\n", "spc\r\n")
"""A bank transfer: the European Payments Council's code (EPC069-12), and the Swiss QR-bill."""


def leads_to(payload: str) -> Category | None:
    """Where whoever scans a code is led, so that no more has to be known; None where its form does not say that."""
    folded = payload.casefold()
    if folded.startswith(_TRANSFERS) or _MERCHANT.fullmatch(folded):
        return Category.PAYMENT
    scheme = _SCHEME.match(folded)
    return None if scheme is None else _BY_SCHEME.get(scheme[1])
