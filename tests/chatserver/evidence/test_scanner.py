"""Asking clamd: a server of the tests' own that speaks its protocol, and the real one where it is installed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatserver.embedded import free_port
from chatserver.evidence.scanner import CHUNK_BYTES, Clamd, ScannerAway
from tests.chatserver.evidence.clamd import CLAMD, EICAR, ClamdServer, real_clamd


@pytest.fixture
async def server() -> AsyncIterator[ClamdServer]:
    async with ClamdServer().running() as server:
        yield server


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return file(tmp_path, b"a receipt\n")


def file(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


async def test_what_is_harmful_is_named(server: ClamdServer, tmp_path: Path) -> None:
    assert await Clamd(server.url).scan(file(tmp_path, b"before " + EICAR)) == "Eicar-Test-Signature"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
async def test_all_of_a_file_is_scanned(server: ClamdServer, tmp_path: Path, size: int) -> None:
    assert await Clamd(server.url).scan(file(tmp_path, b"x" * size)) is None
    assert server.scanned == [size]


async def test_a_unix_socket_will_do(clean: Path, tmp_path: Path) -> None:
    async with ClamdServer().running(tmp_path / "clamd.socket") as server:
        assert await Clamd(server.url).scan(clean) is None
        assert await Clamd(server.url).is_there()


async def test_a_scanner_that_is_not_there_has_said_nothing(clean: Path, tmp_path: Path) -> None:
    for url in (f"tcp://127.0.0.1:{free_port()}", f"unix://{tmp_path}/nothing"):
        assert not await Clamd(url).is_there()
        with pytest.raises(ScannerAway):
            await Clamd(url).scan(clean)


async def test_a_slow_scanner_has_said_nothing(server: ClamdServer, clean: Path) -> None:
    server.delay_s = 5
    with pytest.raises(ScannerAway, match="TimeoutError"):
        await Clamd(server.url, timeout_s=0.1).scan(clean)


async def test_a_scanner_that_hangs_up_has_said_nothing(server: ClamdServer, clean: Path) -> None:
    server.hangs_up = True
    assert not await Clamd(server.url).is_there()
    with pytest.raises(ScannerAway, match="IncompleteReadError"):
        await Clamd(server.url).scan(clean)


@pytest.mark.parametrize("answer", [b"COMMAND READ TIMED OUT. ERROR", b"stream: Can't open file ERROR", b"", b"\xff"])
async def test_an_error_is_no_verdict(server: ClamdServer, clean: Path, answer: bytes) -> None:
    server.answer = answer or b" "
    with pytest.raises(ScannerAway, match="the scanner says"):
        await Clamd(server.url).scan(clean)
    assert not await Clamd(server.url).is_there()


async def test_an_answer_without_end_is_no_verdict(server: ClamdServer, clean: Path) -> None:
    server.answer = b"stream: " + b"x" * 100_000
    with pytest.raises(ScannerAway):
        await Clamd(server.url).scan(clean)


async def test_what_is_too_large_for_the_scanner_was_not_scanned(server: ClamdServer, tmp_path: Path) -> None:
    server.most = 1000
    assert await Clamd(server.url).scan(file(tmp_path, b"x" * 1000)) is None
    with pytest.raises(ScannerAway):
        await Clamd(server.url).scan(file(tmp_path, b"x" * 40 * CHUNK_BYTES))


if CLAMD is not None:

    async def test_the_real_clamd_agrees(tmp_path: Path) -> None:
        async with real_clamd(tmp_path) as urls:
            for url in urls:
                scanner = Clamd(url)
                assert await scanner.scan(file(tmp_path, EICAR)) == "Eicar-Test-Signature.UNOFFICIAL"
                for size in (1, CHUNK_BYTES, 1024 * 1024):
                    assert await scanner.scan(file(tmp_path, b"x" * size)) is None
                with pytest.raises(ScannerAway):
                    await scanner.scan(file(tmp_path, b"x" * 1024 * 1024 + b"x"))
