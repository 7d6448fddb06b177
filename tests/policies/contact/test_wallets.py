"""Wallets and bank accounts by their checksums. Vectors: BIP 173, BIP 350, ISO 13616, EIP-55."""

import pytest

from policies.contact.wallets import base58_valid, bech32_valid, iban_valid, ibans, wallets


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "crypto.base58"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "crypto.bech32"),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "crypto.bech32"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "crypto.bech32_form"),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "crypto.hex"),
        ("TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLS1", "crypto.base58_form"),
        ("7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV", "crypto.long"),
    ],
)
def test_wallets(text: str, rule: str) -> None:
    (found,) = wallets(f"to {text} please")
    assert found[:2] == (3, 3 + len(text))
    assert found[3] == rule


@pytest.mark.parametrize(
    "text", ["1" * 34, "a" * 43, "bc1qqqqqqqqqqqqqqqqqqqqqqqqq", "order 12345678901234567890123456789012345"]
)
def test_no_wallets(text: str) -> None:
    assert not [one for one in wallets(text) if one[2] > 0.6]


def test_checksums() -> None:
    assert not base58_valid("z" * 40)
    assert not bech32_valid("1qqqq")
    assert not bech32_valid("bc1bbbb")
    assert iban_valid("GB82 WEST 1234 5698 7654 32")
    assert not iban_valid("GB82 WEST 1234")
    assert not iban_valid("GB83 WEST 1234 5698 7654 32")


def test_an_account_in_a_sentence() -> None:
    assert ibans("iban GB82 WEST 1234 5698 7654 32 thanks a lot")[0][:2] == (5, 32)
    assert ibans("iban GB83 WEST 1234 5698 7654 32") == []
    assert ibans("iban GB82 \u212aEST 1234 5698 7654 32") == []
