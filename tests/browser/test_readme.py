"""The README's examples, as they stand there, pasted where it says."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chatserver.client import ChatClient
from tests.browser import chromium
from tests.program import PROJECT, Program

README = (PROJECT / "README.md").read_text()
ANYWHERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What ``make dev`` runs."""
    data = tmp_path_factory.mktemp("dev")
    with Program(["-m", "chatserver", "dev", "--port", "0", "--data", str(data)]) as dev:
        yield dev.line("ready ")


def example(language: str) -> str:
    """The one example in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(found)


def test_the_python_example_talks_and_ends(base_url: str, tmp_path: Path) -> None:
    code = example("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 14
    program = tmp_path / "hello.py"
    program.write_text(code.replace(ANYWHERE, base_url))
    ended = subprocess.run([sys.executable, program], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[-1].endswith("Sal Seller It left our warehouse on Monday.")


async def test_the_browser_example_sends_and_shows_what_is_said(base_url: str) -> None:
    async with chromium.page() as page:
        shown: list[str] = []
        page.on("console", lambda message: shown.append(message.text))
        await page.goto(f"{base_url}/docs")
        # The console takes "await" at the top; a function around it does the same here.
        await page.evaluate("(code) => (0, eval)(`(async () => {${code}})()`)", example("js"))
        async with asyncio.timeout(20):
            while not any(line.endswith("Bo Buyer Hello from a browser") for line in shown):
                await page.wait_for_event("console")
        async with httpx.AsyncClient(base_url=base_url) as http:
            minted = await http.post("/v1/sandbox/tokens", json={"sub": "demo-seller", "name": "Sal Seller"})
        async with ChatClient(base_url, token=minted.json()["token"]) as client:
            room = await client.join("order-demo-1001")
            await room.send("Hello from Python")
        async with asyncio.timeout(20):
            while not any(line.endswith("Sal Seller Hello from Python") for line in shown):
                await page.wait_for_event("console")
        assert [line for line in shown if "rror" in line] == []
