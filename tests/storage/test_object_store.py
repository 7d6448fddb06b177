"""The store for evidence, over HTTP, behind a gate that enforces what S3 enforces."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from policies.errors import Unavailable
from storage.object_store import (
    ObjectChanged,
    ObjectGone,
    ObjectStore,
    ObjectStoreConfig,
    SignedRequest,
    StoredPart,
    StoreMisconfigured,
)
from tests.s3_gate import S3Gate

CONTENT = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
SHA256 = hashlib.sha256(CONTENT).digest()
KEY = "incoming/dispute-1/e1"
MIB = 1024 * 1024


class GateClock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def gate_clock() -> GateClock:
    return GateClock()


@pytest.fixture
async def gate(s3_url: str, gate_clock: GateClock) -> AsyncIterator[S3Gate]:
    async with S3Gate(s3_url, {"key-1": "secret-1"}, gate_clock).running() as gate:
        yield gate


@pytest.fixture
def config(gate: S3Gate, request: pytest.FixtureRequest) -> ObjectStoreConfig:
    bucket = "test-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    return ObjectStoreConfig(bucket, gate.url, path_style=True, access_key="key-1", secret_key="secret-1")


@pytest.fixture
async def store(config: ObjectStoreConfig) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(config)
    await store.ensure_bucket()
    yield store
    await store.close()


@pytest.fixture
async def web() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the marketplace's: it knows no secret."""
    async with httpx.AsyncClient(trust_env=False) as web:
        yield web


async def signed_put(store: ObjectStore, key: str = KEY, expires_s: int = 600) -> SignedRequest:
    return await store.sign_put(key, content_type="image/png", size=len(CONTENT), sha256=SHA256, expires_s=expires_s)


async def send(web: httpx.AsyncClient, signed: SignedRequest, content: bytes = CONTENT, **headers: str) -> str:
    """Use a signed request. Returns S3's error code, or nothing."""
    answer = await web.request(signed.method, signed.url, content=content, headers={**signed.headers, **headers})
    return "" if answer.is_success else answer.text.partition("<Code>")[2].partition("</Code>")[0]


async def upload(store: ObjectStore, web: httpx.AsyncClient, key: str = KEY) -> None:
    assert await send(web, await signed_put(store, key)) == ""


# What a client may do with a signed upload


async def test_an_upload_arrives_as_it_was_announced(store: ObjectStore, web: httpx.AsyncClient) -> None:
    await upload(store, web)
    found = await store.look(KEY)
    assert found is not None
    assert (found.key, found.size) == (KEY, len(CONTENT))


async def test_an_upload_is_for_one_use(store: ObjectStore, web: httpx.AsyncClient) -> None:
    signed = await signed_put(store)
    assert await send(web, signed) == ""
    assert await send(web, signed) == "PreconditionFailed"


async def test_an_upload_expires(store: ObjectStore, web: httpx.AsyncClient, gate_clock: GateClock) -> None:
    signed = await signed_put(store, expires_s=600)
    gate_clock.ahead = timedelta(seconds=598)
    assert await send(web, signed) == ""
    gate_clock.ahead = timedelta(seconds=601)
    assert await send(web, signed) == "AccessDenied"


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        (CONTENT[:-1] + b"x", {}, "BadDigest"),
        (CONTENT + b"x", {"Content-Length": str(len(CONTENT) + 1)}, "SignatureDoesNotMatch"),
        (CONTENT, {"Content-Type": "text/html"}, "SignatureDoesNotMatch"),
        (CONTENT, {"If-None-Match": "x"}, "SignatureDoesNotMatch"),
        (CONTENT, {"x-amz-checksum-sha256": "AAAA"}, "SignatureDoesNotMatch"),
        (CONTENT, {"x-amz-acl": "public-read"}, "AccessDenied"),
    ],
)
async def test_an_upload_of_anything_else_is_refused(
    store: ObjectStore, web: httpx.AsyncClient, content: bytes, headers: dict[str, str], code: str
) -> None:
    assert await send(web, await signed_put(store), content, **headers) == code
    assert await store.look(KEY) is None


async def test_an_upload_is_for_its_own_key(store: ObjectStore, web: httpx.AsyncClient) -> None:
    signed = await signed_put(store)
    other = replace(signed, url=signed.url.replace("/e1?", "/e2?"))
    assert await send(web, other) == "SignatureDoesNotMatch"


async def test_an_upload_by_a_form_is_refused(
    store: ObjectStore, web: httpx.AsyncClient, config: ObjectStoreConfig
) -> None:
    """No POST policy is signed: whoever makes one up, for a longer file say, knows no secret."""
    policy = base64.b64encode(b'{"conditions": [["content-length-range", 0, 1000000000]]}').decode()
    form = {"key": KEY, "policy": policy, "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-signature": "0" * 64}
    answer = await web.post(f"{config.endpoint}/{config.bucket}", data=form, files={"file": CONTENT})
    assert (answer.status_code, "AccessDenied" in answer.text) == (403, True)
    assert await store.look(KEY) is None


async def test_without_the_secret_nothing_is_signed(config: ObjectStoreConfig, web: httpx.AsyncClient) -> None:
    for forger, code in (
        (replace(config, secret_key="guessed"), "SignatureDoesNotMatch"),
        (replace(config, access_key="nobody"), "InvalidAccessKeyId"),
    ):
        store = ObjectStore(forger)
        assert await send(web, await signed_put(store)) == code
        await store.close()


async def test_keys_hold_any_characters(store: ObjectStore, web: httpx.AsyncClient) -> None:
    key = "incoming/dispute-\u00fc 1+2~(3)/e&1=?"
    await upload(store, web, key)
    assert await store.look(key) is not None


# Downloads


async def test_a_download_is_served_as_it_was_signed(
    store: ObjectStore, web: httpx.AsyncClient, gate_clock: GateClock
) -> None:
    await upload(store, web)
    signed = await store.sign_get(
        KEY, content_type="application/octet-stream", disposition='attachment; filename="a b.png"', expires_s=60
    )
    answer = await web.get(signed.url)
    assert answer.content == CONTENT
    assert answer.headers["content-disposition"] == 'attachment; filename="a b.png"'
    assert answer.headers["content-type"] == "application/octet-stream"
    other = signed.url.replace("octet-stream", "html")
    assert (await web.get(other)).status_code == 403
    gate_clock.ahead = timedelta(seconds=62)
    assert (await web.get(signed.url)).status_code == 403


async def test_a_download_is_of_one_version(store: ObjectStore) -> None:
    signed = await store.sign_get(KEY, content_type="image/png", disposition="attachment", expires_s=60, version="v1")
    assert "versionId=v1" in signed.url


async def test_nothing_is_served_without_a_signature(
    store: ObjectStore, web: httpx.AsyncClient, config: ObjectStoreConfig
) -> None:
    await upload(store, web)
    assert (await web.get(f"{config.endpoint}/{config.bucket}/{KEY}")).status_code == 403


# Uploads in parts


async def test_an_upload_in_parts_goes_on_where_it_stopped(
    store: ObjectStore, web: httpx.AsyncClient, tmp_path: Path
) -> None:
    first, second = b"a" * (5 * MIB), b"b" * 10  # all but the last have 5 MiB or more
    name = await store.begin_parts(KEY, "video/mp4")
    assert await send(web, await store.sign_part(KEY, name, 1, size=len(first), expires_s=60), first) == ""
    arrived = await store.parts(KEY, name)
    assert arrived is not None
    assert [(part.number, part.size) for part in arrived] == [(1, len(first))]
    part = await store.sign_part(KEY, name, 2, size=len(second), expires_s=60)
    assert await send(web, part, second + b"x", **{"Content-Length": "11"}) == "SignatureDoesNotMatch"
    assert await send(web, part, second) == ""
    assert await store.join_parts(KEY, name, await store.parts(KEY, name) or [])
    found = await store.look(KEY)
    assert found is not None
    await store.fetch(found, tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == first + second


async def test_an_abandoned_upload_in_parts_is_gone(store: ObjectStore) -> None:
    name = await store.begin_parts(KEY, "video/mp4")
    await store.abandon_parts(KEY, name)
    await store.abandon_parts(KEY, name)
    assert await store.parts(KEY, name) is None
    assert not await store.join_parts(KEY, name, [StoredPart(1, 5, '"x"')])


# What the server does itself


async def test_an_object_is_fetched_only_as_it_was_seen(
    store: ObjectStore, web: httpx.AsyncClient, tmp_path: Path
) -> None:
    await upload(store, web)
    seen = await store.look(KEY)
    assert seen is not None
    await store.fetch(seen, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    for lie in (replace(seen, size=seen.size - 1), replace(seen, size=seen.size + 1)):
        with pytest.raises(ObjectChanged):
            await store.fetch(lie, tmp_path / "copy")
    await store.put(KEY, b"another one", "image/png")
    with pytest.raises(ObjectChanged):
        await store.fetch(seen, tmp_path / "copy")


async def test_only_what_was_seen_is_sealed(store: ObjectStore, web: httpx.AsyncClient) -> None:
    await upload(store, web)
    seen = await store.look(KEY)
    assert seen is not None
    sealed = await store.seal(seen, "sealed/e1")
    again = await store.look("sealed/e1")
    assert again is not None
    assert (sealed.key, sealed.size, sealed.etag) == ("sealed/e1", seen.size, again.etag)
    await store.delete([KEY])
    with pytest.raises(ObjectChanged):
        await store.seal(seen, "sealed/e2")


async def test_a_small_object_is_read_and_a_file_is_kept(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    kept = await store.put_file(KEY, tmp_path / "file", "text/plain")
    found = await store.look(KEY)
    assert found is not None
    assert kept.is_still(found)
    assert await store.read(kept, 7) == b"content"
    assert await store.read(kept, 6) is None
    await store.put(KEY, b"another", "text/plain")
    with pytest.raises(ObjectChanged):
        await store.read(kept, 7)
    await store.delete([KEY])
    with pytest.raises(ObjectGone):
        await store.read(kept, 7)


async def test_purging_leaves_no_version(store: ObjectStore) -> None:
    await store._ask("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    try:
        for content in (b"one", b"two"):
            await store.put(KEY, content, "text/plain")
        await store.put(f"{KEY}-other", b"stays", "text/plain")
        await store.delete([KEY])
        assert await store.look(KEY) is None
        assert len((await store._ask("list_object_versions", Prefix=KEY))["Versions"]) == 3
        await store.purge([KEY, f"{KEY}-nothing"])
        left = await store._ask("list_object_versions", Prefix=KEY)
        assert [each["Key"] for each in left["Versions"]] == [f"{KEY}-other"]
        assert not left.get("DeleteMarkers")
    finally:
        await store.purge([f"{KEY}-other"])


async def test_what_the_store_does_not_delete_is_said(store: ObjectStore, gate: S3Gate) -> None:
    gate.answer = "<DeleteResult><Error><Key>x</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    with pytest.raises(Unavailable, match="not delete"):
        await store.delete(["x"])


async def test_a_bucket_is_made_once_and_a_refusal_is_told(store: ObjectStore, gate: S3Gate) -> None:
    await store.ensure_bucket()
    gate.broken = lambda _: 403
    with pytest.raises(StoreMisconfigured):
        await store.ensure_bucket()


async def test_deleting_and_listing_go_on_over_any_number_of_pages(
    store: ObjectStore, config: ObjectStoreConfig
) -> None:
    await store.close()
    store = ObjectStore(config, page=3)
    keys = [f"thumbs/{number}" for number in range(7)]
    await asyncio.gather(*(store.put(key, b"x", "image/webp") for key in keys))
    await store.put("other/1", b"x", "image/webp")
    assert [found.key async for found in store.listing("thumbs/")] == keys
    await store.delete([*keys, "thumbs/never"])
    assert [found.key async for found in store.listing("")] == ["other/1"]
    await store.close()


# Trouble


async def test_a_store_that_is_in_trouble_is_unavailable(store: ObjectStore, gate: S3Gate, tmp_path: Path) -> None:
    made = await store.put(KEY, CONTENT, "image/png")
    gate.broken = lambda _: 503
    with pytest.raises(Unavailable):
        await store.ensure_bucket()
    for call in (store.look(KEY), store.fetch(made, tmp_path / "x"), store.delete([KEY]), store.seal(made, "x")):
        with pytest.raises(Unavailable):
            await call


async def test_a_store_that_is_not_there_is_unavailable(config: ObjectStoreConfig) -> None:
    store = ObjectStore(replace(config, endpoint="http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        await store.look(KEY)
    await store.close()


async def test_a_store_that_is_slow_is_unavailable_and_holds_up_nothing_else(
    config: ObjectStoreConfig, gate: S3Gate
) -> None:
    store = ObjectStore(replace(config, timeout_s=0.2))
    gate.delay_s = 1.0
    looking = asyncio.create_task(store.look(KEY))
    started = asyncio.get_running_loop().time()
    await asyncio.sleep(0.05)
    assert asyncio.get_running_loop().time() - started < 0.15
    with pytest.raises(Unavailable):
        await looking
    await store.close()


async def test_a_store_that_does_not_let_us_in_is_told_apart(store: ObjectStore, gate: S3Gate) -> None:
    gate.broken = lambda _: 403
    with pytest.raises(StoreMisconfigured):
        await store.look(KEY)


def test_the_secret_is_not_shown(config: ObjectStoreConfig) -> None:
    assert "secret-1" not in repr(config)


# Where it is, and who asks


@pytest.mark.parametrize(
    ("changed", "begins"),
    [
        ({"path_style": True}, "http://store.example:9000/evidence/a%20key?"),
        ({}, "http://evidence.store.example:9000/a%20key?"),
        ({"endpoint": "http://localhost:9000"}, "http://localhost:9000/evidence/a%20key?"),
        ({"endpoint": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/evidence/a%20key?"),
        ({"endpoint": "http://[::1]:9000"}, "http://[::1]:9000/evidence/a%20key?"),
        ({"endpoint": None}, "https://evidence.s3.eu-central-1.amazonaws.com/a%20key?"),
        ({"endpoint": None, "path_style": True}, "https://s3.eu-central-1.amazonaws.com/evidence/a%20key?"),
    ],
)
async def test_a_store_is_anywhere(changed: dict[str, Any], begins: str) -> None:
    config = ObjectStoreConfig("evidence", "http://store.example:9000", "eu-central-1", access_key="k", secret_key="s")
    store = ObjectStore(replace(config, **changed))
    signed = await store.sign_get("a key", content_type="image/png", disposition="attachment", expires_s=60)
    await store.close()
    assert signed.url.startswith(begins)
    assert "/eu-central-1/s3/aws4_request" in unquote(signed.url)


async def test_credentials_come_from_the_chain_when_none_are_set(
    gate: S3Gate, web: httpx.AsyncClient, config: ObjectStoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-1")
    store = ObjectStore(replace(config, access_key=None, secret_key=None))
    await store.ensure_bucket()
    await upload(store, web)
    assert await store.look(KEY) is not None
    await store.close()
