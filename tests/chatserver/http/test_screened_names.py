"""Names that hold contact details, as the marketplace reports them or a token tells them."""

import pytest

from policies.vocabulary import Role
from tests.chatserver.http.conftest import DISPUTES, Backstage, Caller, Calling, opened

UNFIT = "Ann whatsapp +49 151 12345678"


async def test_names_that_are_not_shown_are_not_kept(back_end: Caller, backstage: Backstage, calling: Calling) -> None:
    report = backstage.report(
        buyer={"id": backstage.buyer, "name": UNFIT}, seller={"id": backstage.seller, "name": "ann@gmail.com"}
    )
    answer = await back_end.put(f"/v1/orders/{backstage.order_id}", report)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["buyer"]["name"], told["seller"]["name"]) == ("Buyer", "Seller")
    assert told["notices"] == [
        f"{side}.name is not shown: it holds contact details or an insult." for side in ("buyer", "seller")
    ]
    again = await back_end.put(f"/v1/orders/{backstage.order_id}", report)
    assert (again.status_code, again.json()) == (200, told)
    buyer, seller = calling(backstage.token(backstage.buyer)), calling(backstage.token(backstage.seller))
    dispute = await opened(buyer, backstage)
    read = [
        await seller.get(f"/v1/orders/{backstage.order_id}"),
        await seller.get(f"{DISPUTES}/{dispute['id']}"),
        await seller.get("/v1/rooms"),
        await seller.get(f"/v1/rooms/{dispute['room']}/entries"),
        await seller.get(f"/v1/rooms/{dispute['room']}/transcript", format="json"),
        await seller.get(f"/v1/rooms/{dispute['room']}/transcript", format="html"),
    ]
    for each in read:
        assert each.status_code == 200
        assert "12345678" not in each.text
        assert "gmail" not in each.text
    assert read[1].json()["buyer"] == {"id": backstage.buyer, "name": "Buyer"}


async def test_ordinary_names_are_kept_without_a_notice(back_end: Caller, backstage: Backstage) -> None:
    answer = await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())
    assert "notices" not in answer.json()
    assert answer.json()["seller"]["name"] == "Shop"


@pytest.mark.parametrize(
    ("name", "role", "known_as"),
    [("Ann", None, "Ann"), (UNFIT, None, ""), (UNFIT, Role.AGENT, UNFIT), (None, None, "u-1")],
)
async def test_names_in_tokens(name: str | None, role: Role | None, known_as: str, backstage: Backstage) -> None:
    token = backstage.token("u-1", role, **({} if name is None else {"name": name}))
    assert (await backstage.services.auth.user(token, "127.0.0.1")).name == known_as
