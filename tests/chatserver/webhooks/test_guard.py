import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from chatserver.webhooks.guard import QUESTIONS, URL_CHARS, Guard, NameUnknown, TargetRefused, is_public, parse_target

PUBLIC = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
    "2000::", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111", "2a00:1450:4001::5",
    "3ffe:ffff::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
)  # fmt: skip
NOT_PUBLIC = (
    "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
    "127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255",
    "192.0.0.8", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0",
    "198.19.255.255", "198.51.100.7", "203.0.113.255", "224.0.0.1", "224.0.1.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe", "::ffff:0:8.8.8.8", "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::8.8.8.8", "100::1",
    "1fff:ffff::", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "fc00::1",
    "fd12:3456::1", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "", "localhost", "1.1.1", "01.1.1.1", "0x7f.0.0.1", "2130706433", "1.1.1.1.", "[::1]", " 8.8.8.8",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_asked(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_may_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://shop.example/hooks?tenant=1", "shop.example", 443),
        ("https://shop.example:8443/", "shop.example", 8443),
        ("HTTPS://Shop.Example", "shop.example", 443),
        ("https://8.8.8.8/h", "8.8.8.8", 443),
        ("https://[2606:4700:4700::1111]:99/h", "2606:4700:4700::1111", 99),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
    ],
)
def test_a_webhook_goes_over_https(url: str, host: str, port: int) -> None:
    target = parse_target(url, private=False)
    assert (target.host, target.port, target.secure) == (host, port, True)


@pytest.mark.parametrize(
    "url",
    [
        "", "shop.example", "//shop.example", "http://shop.example/", "ftp://shop.example/", "file:///etc/passwd",
        "https://", "https:///x", "https://:443/", "https://user@shop.example/", "https://u:p@shop.example/",
        "https://@shop.example/", "https://shop.example/#top", "https://shop.example:0x50/",
        "https://shop.example:65536/", "https://shop.example:-1/", "https://shop.example/a b",
        "https://shop.example/\r\nX: y", "https://shop.example/\t", "https://b\u00fccher.example/",
        "https://shop.example\\@10.0.0.1/", "https://[::1", "https://[::1]/", "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data", "https://[::ffff:10.0.0.1]/", "https://" + "a" * 64 + ".example/",
        "https://" + ".".join(["a" * 60] * 5) + "/", "https://a..example/",
    ],
)  # fmt: skip
def test_what_is_no_public_https_url_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        parse_target(url, private=False)


def test_a_url_has_a_longest_length() -> None:
    longest = "https://shop.example/".ljust(URL_CHARS, "a")
    assert parse_target(longest, private=False).url == longest
    with pytest.raises(TargetRefused):
        parse_target(longest + "a", private=False)


def test_the_configuration_may_allow_private_targets_over_http() -> None:
    assert parse_target("http://127.0.0.1:9000/h", private=True).port == 9000
    assert parse_target("http://hooks.internal/h", private=True).port == 80
    for refused in ("ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http:///"):
        with pytest.raises(TargetRefused):
            parse_target(refused, private=True)


class Names:
    """A resolver with names of its own."""

    def __init__(self, **names: Sequence[str]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[Any]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.names[host]]


async def resolved(guard: Guard, url: str) -> list[str]:
    return await guard.addresses(parse_target(url, private=guard.private))


async def test_every_address_of_a_name_is_checked() -> None:
    names = Names(
        good_example=["8.8.8.8", "2606:4700:4700::1111", "8.8.8.8"],
        mixed_example=["8.8.8.8", "10.0.0.1"],
        metadata_example=["169.254.169.254"],
        mapped_example=["::ffff:127.0.0.1"],
        empty_example=[],
    )
    guard = Guard(private=False, lookup=names)
    assert await resolved(guard, "https://good.example/") == ["8.8.8.8", "2606:4700:4700::1111"]
    for host, address in (("mixed", "10.0.0.1"), ("metadata", "169.254.169.254"), ("mapped", "::ffff:127.0.0.1")):
        with pytest.raises(TargetRefused, match=f"{address} is not a public address"):
            await resolved(guard, f"https://{host}.example/")
    for host in ("empty", "unknown"):
        with pytest.raises(NameUnknown):
            await resolved(guard, f"https://{host}.example/")


async def test_a_name_is_asked_for_every_time() -> None:
    names = Names(shop_example=["8.8.8.8"])
    guard = Guard(private=False, lookup=names)
    assert await resolved(guard, "https://shop.example/") == ["8.8.8.8"]
    names.names["shop.example"] = ["127.0.0.1"]
    with pytest.raises(TargetRefused):
        await resolved(guard, "https://shop.example/")


async def test_an_address_is_not_asked_for() -> None:
    names = Names()
    guard = Guard(private=True, lookup=names)
    assert await resolved(guard, "https://10.0.0.1/") == ["10.0.0.1"]
    assert names.asked == []


async def test_the_shorthands_of_addresses_are_what_they_lead_to() -> None:
    """``127.1`` and ``2130706433`` are names to the URL, and addresses to the system."""
    guard = Guard(private=False)
    for host in ("127.1", "2130706433", "0x7f.1", "localhost"):
        with pytest.raises((TargetRefused, NameUnknown)):
            await resolved(guard, f"https://{host}/")


async def test_a_silent_name_holds_one_thread_and_nobody_else() -> None:
    silence = threading.Event()
    names = Names(quick_example=["8.8.8.8"])

    def lookup(host: str, port: int) -> Sequence[Any]:
        if host == "silent.example":
            names.asked.append(host)
            silence.wait(30)
        return names(host, port)

    guard = Guard(private=False, lookup=lookup)
    waiting = [asyncio.create_task(resolved(guard, "https://silent.example/")) for _ in range(200)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # one that gives up takes nobody's answer away
    assert await resolved(guard, "https://quick.example/") == ["8.8.8.8"]
    assert names.asked.count("silent.example") == 1
    silence.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(result, NameUnknown) for result in results[1:])


async def test_only_so_many_names_are_asked_for_at_once() -> None:
    silence = threading.Event()

    def lookup(host: str, port: int) -> Sequence[Any]:
        silence.wait(30)
        return [(2, 1, 6, "", ("8.8.8.8", port))]

    guard = Guard(private=False, lookup=lookup)
    waiting = [asyncio.create_task(resolved(guard, f"https://n{number}.example/")) for number in range(QUESTIONS)]
    await asyncio.sleep(0)
    with pytest.raises(NameUnknown, match="too many"):
        await resolved(guard, "https://one-more.example/")
    silence.set()
    assert await asyncio.gather(*waiting) == [["8.8.8.8"]] * QUESTIONS
    assert await resolved(guard, "https://one-more.example/") == ["8.8.8.8"]


async def test_a_resolver_that_breaks_is_no_silence() -> None:
    def lookup(host: str, port: int) -> Sequence[Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await resolved(Guard(private=False, lookup=lookup), "https://shop.example/")


async def test_a_url_is_refused_when_it_is_added_and_not_for_a_name_that_may_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard = Guard(private=False, lookup=Names(inside_example=["10.0.0.1"], outside_example=["8.8.8.8"]))
    await guard.require_usable("https://outside.example/")
    await guard.require_usable("https://unknown.example/")
    for refused in ("https://inside.example/", "http://outside.example/", "https://10.0.0.1/"):
        with pytest.raises(TargetRefused):
            await guard.require_usable(refused)
    monkeypatch.setattr("chatserver.webhooks.guard.CHECK_S", 0.05)
    silence = threading.Event()
    silent = Guard(private=False, lookup=lambda host, port: silence.wait(30) and [])  # type: ignore[arg-type,return-value]
    await silent.require_usable("https://silent.example/")
    silence.set()
