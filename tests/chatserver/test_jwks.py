"""Published keys: which are usable, and how they are fetched, kept and rotated."""

import asyncio
import base64
import contextlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import RSAAlgorithm

from chatserver.jwks import MAX_BYTES, MAX_KEYS, RETRY_S, InvalidKeySet, KeySet, parse_key_set
from policies.errors import Unavailable
from tests.chatserver.moving_time import Stopwatch
from tests.chatserver.tokens import EC_KEY, ED_KEY, RSA_KEY, jwk, jwks

CACHE_S = 300.0


class KeyServer:
    """An HTTP server that publishes keys, and misbehaves on demand."""

    def __init__(self) -> None:
        self.document = jwks(jwk(RSA_KEY, "one"))
        self.status = 200
        self.requests = 0
        self.asked = threading.Event()
        self.open = threading.Event()
        self.open.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                server.asked.set()
                server.open.wait(10)
                self.send_response(server.status)
                if server.status == 302:
                    self.send_header("Location", server.url + "/elsewhere")
                self.end_headers()
                with contextlib.suppress(OSError):  # the client may have had enough
                    self.wfile.write(server.document)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    running = KeyServer()
    yield running
    running.close()


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


async def found(keys: KeySet, kid: str | None, algorithm: str = "RS256") -> bool:
    return await keys.find(kid, algorithm) is not None


async def test_keys_are_fetched_once_and_kept(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    for _ in range(5):
        assert await found(keys, "one")
    watch.advance(CACHE_S)
    assert await found(keys, "one")
    assert server.requests == 1


async def test_all_callers_share_one_fetch(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    assert all(await asyncio.gather(*(found(keys, "one") for _ in range(50))))
    assert server.requests == 1


async def test_a_fetch_does_not_hold_up_the_loop(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    server.open.clear()
    asked = asyncio.create_task(found(keys, "one"))
    assert await asyncio.to_thread(server.asked.wait, 10)
    server.open.set()
    assert await asked


async def test_a_caller_that_goes_away_leaves_the_fetch_to_the_others(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    server.open.clear()
    first, second = (asyncio.create_task(found(keys, "one")) for _ in range(2))
    assert await asyncio.to_thread(server.asked.wait, 10)
    first.cancel()
    server.open.set()
    assert await second


async def test_a_new_key_is_found_at_once(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    assert await found(keys, "one")
    server.document = jwks(jwk(RSA_KEY, "one"), jwk(EC_KEY, "two"))
    watch.advance(RETRY_S)
    assert await found(keys, "two", "ES256")
    assert server.requests == 2


async def test_made_up_key_ids_cause_few_fetches(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    for number in range(50):
        assert not await found(keys, f"made-up-{number}")
        watch.advance(RETRY_S / 10)
    assert server.requests <= 6


async def test_a_withdrawn_key_goes_when_the_cache_is_old(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    assert await found(keys, "one")
    server.document = jwks(jwk(RSA_KEY, "two"))
    watch.advance(2 * CACHE_S + 1)
    assert not await found(keys, "one")
    assert await found(keys, "two")


async def test_a_cache_of_some_age_is_renewed_behind_its_callers(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    assert await found(keys, "one")
    server.document = jwks(jwk(RSA_KEY, "two"))
    watch.advance(CACHE_S + 1)
    assert await found(keys, "one"), "the old key while the new set is on its way"
    async with asyncio.timeout(10):
        while await found(keys, "one"):  # noqa: ASYNC110  # the fetch is nobody's to wait for
            await asyncio.sleep(0.005)
    assert await found(keys, "two")
    assert server.requests == 2


async def test_old_keys_go_on_working_while_the_source_is_down(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    assert await found(keys, "one")
    server.status = 500
    for _ in range(3):
        watch.advance(10 * CACHE_S)
        assert await found(keys, "one")


async def test_an_unknown_key_cannot_be_judged_while_the_source_is_down(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    assert await found(keys, "one")
    server.status = 500
    watch.advance(RETRY_S)
    with pytest.raises(Unavailable) as refused:
        await keys.find("two", "RS256")
    assert refused.value.retry_after_ms == RETRY_S * 1000
    server.status = 200
    watch.advance(RETRY_S)
    assert not await found(keys, "two")


@pytest.mark.parametrize("trouble", ["down", "error", "redirect", "no JSON", "no keys", "too large", "silent"])
async def test_nobody_can_be_judged_before_the_first_keys(
    trouble: str, server: KeyServer, watch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url
    monkeypatch.setattr("chatserver.jwks.FETCH_TIMEOUT_S", 0.3 if trouble == "silent" else 5.0)
    match trouble:
        case "down":
            url = "http://127.0.0.1:1"
        case "error":
            server.status = 404
        case "redirect":
            server.status = 302
        case "no JSON":
            server.document = b"<html>"
        case "no keys":
            server.document = b'{"keys": null}'
        case "too large":
            server.document += b" " * MAX_BYTES
        case "silent":
            server.open.clear()
    keys = KeySet(url, CACHE_S, watch)
    with pytest.raises(Unavailable):
        await keys.find("one", "RS256")
    server.open.set()


async def test_a_source_that_comes_back_is_used(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    server.status = 503
    with pytest.raises(Unavailable):
        await keys.find("one", "RS256")
    server.status = 200
    with pytest.raises(Unavailable):
        await keys.find("one", "RS256")
    watch.advance(RETRY_S)
    assert await found(keys, "one")
    assert server.requests == 2


async def test_closing_gives_up_a_fetch_under_way(server: KeyServer, watch: Stopwatch) -> None:
    keys = KeySet(server.url, CACHE_S, watch)
    server.open.clear()
    asked = asyncio.create_task(keys.find("one", "RS256"))
    assert await asyncio.to_thread(server.asked.wait, 10)
    await keys.close()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_a_file_is_read_again_when_it_is_old(tmp_path: Path, watch: Stopwatch) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(jwk(ED_KEY, "one")))
    keys = KeySet(str(path), CACHE_S, watch)
    assert await found(keys, "one", "EdDSA")
    path.write_bytes(jwks(jwk(ED_KEY, "two")))
    assert await found(keys, "one", "EdDSA")
    watch.advance(2 * CACHE_S + 1)
    assert not await found(keys, "one", "EdDSA")
    await keys.close()


@pytest.mark.parametrize("content", [None, b" " * (MAX_BYTES + 1)], ids=["missing", "too large"])
async def test_a_file_that_cannot_be_read(content: bytes | None, tmp_path: Path, watch: Stopwatch) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unavailable):
        await KeySet(os.fspath(path), CACHE_S, watch).find("one", "RS256")


async def test_without_a_key_id_there_must_be_one_candidate(tmp_path: Path, watch: Stopwatch) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(jwk(RSA_KEY, "one"), jwk(EC_KEY, "two")))
    keys = KeySet(str(path), CACHE_S, watch)
    assert await found(keys, None)
    path.write_bytes(jwks(jwk(RSA_KEY, "one"), jwk(rsa.generate_private_key(65537, 2048), "two")))
    watch.advance(2 * CACHE_S + 1)
    assert not await found(keys, None)
    assert await found(keys, "two")


def test_the_first_key_set_of_an_unknown_scheme_is_a_file() -> None:
    KeySet("https://keys.example/jwks", CACHE_S)
    with pytest.raises(ValueError, match="https"):
        KeySet("http://keys.example/jwks", CACHE_S)


UNUSABLE: dict[str, dict[str, Any]] = {
    "a shared secret": {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode(), "kid": "k"},
    "for encryption": jwk(RSA_KEY, "k", use="enc"),
    "for signing only": jwk(RSA_KEY, "k", key_ops=["sign"]),
    "operations that are no list": jwk(RSA_KEY, "k", key_ops="verify"),
    "declared for another algorithm": jwk(RSA_KEY, "k", alg="PS256"),
    "declared for a hash": jwk(RSA_KEY, "k", alg="HS256"),
    "RSA too short": jwk(rsa.generate_private_key(65537, 1024), "k"),
    "another curve": jwk(ec.generate_private_key(ec.SECP384R1()), "k"),
    "a private key": json.loads(RSAAlgorithm.to_jwk(RSA_KEY)) | {"kid": "k"},
    "a key id that is no text": jwk(RSA_KEY, None) | {"kid": 7},
    "a number that is none": {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "k"},
    "a number that is no text": {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "k"},
    "an unknown kind": {"kty": "XYZ", "kid": "k"},
    "nothing": {},
}


@pytest.mark.parametrize("key", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_keys_are_left_out(key: dict[str, Any]) -> None:
    assert [each.kid for each in parse_key_set(jwks(key, jwk(EC_KEY, "good", use="sig", alg="ES256")))] == ["good"]


def test_a_key_verifies_one_algorithm() -> None:
    kinds = {
        key.kid: key.algorithm for key in parse_key_set(jwks(jwk(RSA_KEY, "r"), jwk(EC_KEY, "e"), jwk(ED_KEY, "d")))
    }
    assert kinds == {"r": "RS256", "e": "ES256", "d": "EdDSA"}


def test_only_so_many_keys_are_looked_at() -> None:
    assert len(parse_key_set(jwks(*(jwk(ED_KEY, str(number)) for number in range(MAX_KEYS + 1))))) == MAX_KEYS


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": {}}', b"[" * 100_000, b"\xff"])
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse_key_set(document)


def test_members_that_are_no_keys_are_passed_over() -> None:
    assert parse_key_set(b'{"keys": [1, null, "x", []]}') == ()
