"""What the payloads of codes lead to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.contact import Category
from policies.payloads import leads_to


@pytest.mark.parametrize(
    ("payload", "category"),
    [
        ("tel:015112345678", Category.PHONE),
        ("SMSTO:+4915112345678:hi", Category.PHONE),
        ("MAILTO:ann@example.org", Category.EMAIL),
        ("MATMSG:TO:ann@example.org;SUB:hi;;", Category.EMAIL),
        ("tg://resolve?domain=ann", Category.INVITE),
        ("weixin://dl/chat?abc", Category.INVITE),
        ("upi://pay?pa=ann@okbank&pn=Ann", Category.PAYMENT),
        ("wxp://f2f0abc", Category.PAYMENT),
        ("alipays://platformapi/startapp?appId=1", Category.PAYMENT),
        ("00020126360014br.gov.bcb.pix0114+55119999999995204000053039865802BR6304ABCD", Category.PAYMENT),
        ("BCD\n002\n1\nSCT\n\nAnn\nDE89370400440532013000\nEUR10", Category.PAYMENT),
        ("SPC\r\n0200\r\n1\r\nCH4431999123000889012", Category.PAYMENT),
        ("lightning:LNBC10U1P3", Category.CRYPTO),
        (" bitcoin:bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", Category.CRYPTO),
        # The detector's to judge, or nobody's
        ("https://shop.example/order/1042", None),
        ("WIFI:S:home;T:WPA;P:secret;;", None),
        ("geo:52.5,13.4", None),
        ("4006381333931", None),
        ("00340434161094015902", None),
        ("0002011234", None),
        ("hotline: see the back", None),
        ("Contents:2 lamps", None),
        ("", None),
    ],
)
def test_the_form_of_a_payload_says_where_it_leads(payload: str, category: Category | None) -> None:
    assert leads_to(payload) is category


@given(st.text())
def test_any_payload_can_be_asked_about(payload: str) -> None:
    assert leads_to(payload) in (None, *Category)
