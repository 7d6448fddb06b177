"""One attempt, against a real receiver that does all sorts of things."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from chatserver.webhooks.guard import Guard
from chatserver.webhooks.sender import RESPONSE_BYTES, Answer, Sender
from tests.chatserver.webhooks.receiver import Received, Receiver, Respond, receiving, status

HEADERS = {"webhook-id": "d1:1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(Guard(private=True), timeout_s=0.5, agent="tests/1") as made:
        yield made


async def sent(sender: Sender, answer: Respond) -> tuple[Answer, Received]:
    async with receiving(Receiver(lambda _: answer)) as receiver:
        result = await sender.send(f"{receiver.url}?shop=1", HEADERS, b'{"a":1}')
        (request,) = receiver.received
    return result, request


async def test_a_request_is_a_post_of_the_payload(sender: Sender) -> None:
    async with receiving(Receiver()) as receiver:
        answer = await sender.send(f"{receiver.url}?shop=1", HEADERS, b'{"a":1}')
        (request,) = receiver.received
    assert (answer.accepted, answer.status, answer.error, answer.gone) == (True, 204, None, False)
    assert request.line == "POST /hooks?shop=1 HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "tests/1"
    assert HEADERS.items() <= request.headers.items()
    assert request.body == b'{"a":1}'


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_any_2xx_takes_it(sender: Sender, code: int) -> None:
    answer, _ = await sent(sender, status(code))
    assert answer.accepted
    assert answer.status == code


@pytest.mark.parametrize("code", [300, 304, 400, 401, 404, 410, 422, 429, 500, 503, 599])
async def test_anything_else_does_not(sender: Sender, code: int) -> None:
    answer, _ = await sent(sender, status(code))
    assert not answer.accepted
    assert answer.status == code
    assert answer.gone == (code == 410)


async def test_a_redirect_is_not_followed(sender: Sender) -> None:
    async with receiving(Receiver()) as elsewhere:
        for code in (301, 302, 303, 307, 308):
            answer, _ = await sent(sender, status(code, f"Location: {elsewhere.url}"))
            assert (answer.status, answer.error) == (code, "a redirect is not followed")
        assert elsewhere.received == []


async def test_an_endpoint_may_ask_for_a_pause(sender: Sender) -> None:
    for value, seconds in (("120", 120), ("0", 0), ("-1", 0), ("soon", 0), ("9" * 30, 0), ("\u0663", 0)):
        answer, _ = await sent(sender, status(503, f"Retry-After: {value}"))
        assert answer.asked == timedelta(seconds=seconds)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while True:
        writer.write(b"x" * RESPONSE_BYTES)
        await writer.drain()


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def bomb(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnogz!")


async def cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")


@pytest.mark.parametrize("answer", [endless, drips, bomb, cut])
async def test_what_comes_after_the_status_does_not_matter(sender: Sender, answer: Respond) -> None:
    async with asyncio.timeout(5):
        result, _ = await sent(sender, answer)
    assert result.accepted
    assert result.error is None


async def silent(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def loris(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Slow: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [silent, loris])
async def test_an_attempt_is_bounded_in_time(sender: Sender, answer: Respond) -> None:
    async with asyncio.timeout(5):
        result, _ = await sent(sender, answer)
    assert (result.status, result.error) == (None, "no answer within 0.5 s")
    assert 450 <= result.took_ms < 4000


async def headers_without_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Much: " + b"x" * 60_000 + b"\r\n")
        await writer.drain()


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2 secret\r\n\r\n")


@pytest.mark.parametrize("answer", [headers_without_end, nonsense])
async def test_what_is_not_http_is_not_repeated_in_the_log(sender: Sender, answer: Respond) -> None:
    result, _ = await sent(sender, answer)
    assert (result.status, result.error) == (None, "the answer is not HTTP")


async def test_nobody_listens(sender: Sender) -> None:
    async with receiving(Receiver()) as receiver:
        pass
    answer = await sender.send(receiver.url, HEADERS, b"{}")
    assert answer.status is None
    assert answer.error is not None
    assert answer.error.startswith("no connection")


class Names:
    """A resolver that gives other addresses each time, as in DNS rebinding."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)

    def __call__(self, host: str, port: int) -> Sequence[Any]:
        return [(2, 1, 6, "", (address, port)) for address in self.answers.pop(0)]


async def test_it_connects_to_the_address_that_was_checked() -> None:
    """The name is asked for once: an answer that changes between check and use changes nothing."""
    names = Names(["127.0.0.1"])
    async with (
        receiving(Receiver()) as receiver,
        Sender(Guard(private=True, lookup=names), timeout_s=5, agent="tests") as sender,
    ):
        answer = await sender.send(f"http://shop.example:{receiver.port}/h", HEADERS, b"{}")
        assert answer.accepted
        assert receiver.received[0].headers["host"] == f"shop.example:{receiver.port}"


async def test_a_private_address_is_never_connected_to() -> None:
    async with (
        receiving(Receiver()) as receiver,
        Sender(
            Guard(private=False, lookup=Names(["127.0.0.1"], ["8.8.8.8", "127.0.0.1"])), timeout_s=5, agent="t"
        ) as sender,
    ):
        for _ in range(2):
            answer = await sender.send(f"https://shop.example:{receiver.port}/h", HEADERS, b"{}")
            assert (answer.status, answer.error) == (None, "127.0.0.1 is not a public address.")
        answer = await sender.send(receiver.url, HEADERS, b"{}")
        assert answer.error == "A webhook's URL begins with https://."
        assert receiver.received == []


async def test_the_next_address_is_tried_where_nobody_listens() -> None:
    names = Names(["127.0.0.2", "127.0.0.3", "127.0.0.1"], ["127.0.0.2", "127.0.0.3"])
    async with (
        receiving(Receiver()) as receiver,
        Sender(Guard(private=True, lookup=names), timeout_s=5, agent="tests") as sender,
    ):
        url = f"http://shop.example:{receiver.port}/h"
        assert (await sender.send(url, HEADERS, b"{}")).accepted
        assert len(receiver.received) == 1
        assert not (await sender.send(url, HEADERS, b"{}")).accepted


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


async def test_the_certificate_is_that_of_the_name(authority: trustme.CA, ca_file: Path) -> None:
    asked: list[str | None] = []
    context = server_context(authority, "shop.example", "127.0.0.1")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    guard = Guard(private=True, lookup=Names(["127.0.0.1"], ["127.0.0.1"]))
    async with (
        receiving(Receiver(), context) as receiver,
        Sender(guard, timeout_s=5, agent="tests", ca_file=ca_file) as sender,
    ):
        good = await sender.send(f"https://shop.example:{receiver.port}/h", HEADERS, b"{}")
        other = await sender.send(f"https://other.example:{receiver.port}/h", HEADERS, b"{}")
        by_address = await sender.send(f"https://127.0.0.1:{receiver.port}/h", HEADERS, b"{}")
    assert good.accepted
    assert asked[:2] == ["shop.example", "other.example"]
    assert not other.accepted
    assert "certificate" in str(other.error)
    assert by_address.accepted
    assert [request.headers["host"].split(":")[0] for request in receiver.received] == ["shop.example", "127.0.0.1"]


async def test_an_authority_that_nobody_knows_is_not_trusted(authority: trustme.CA) -> None:
    async with (
        receiving(Receiver(), server_context(authority, "127.0.0.1")) as receiver,
        Sender(Guard(private=True), timeout_s=5, agent="tests") as sender,
    ):
        answer = await sender.send(receiver.url, HEADERS, b"{}")
        assert "certificate verify failed" in str(answer.error)
        assert receiver.received == []


async def test_ipv6(sender: Sender) -> None:
    async with receiving(Receiver(), host="::1") as receiver:
        answer = await sender.send(f"http://[::1]:{receiver.port}/h", HEADERS, b"{}")
        assert answer.accepted
        assert receiver.received[0].headers["host"] == f"[::1]:{receiver.port}"
