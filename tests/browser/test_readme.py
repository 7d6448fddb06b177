"""The README's examples, as they stand there, pasted where it says."""

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chatserver.client import ChatClient
from chatserver.embedded import free_port
from tests.browser import chromium
from tests.program import PROJECT, Program, wait_until

README = (PROJECT / "README.md").read_text()
ANYWHERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of what ``make dev`` runs."""
    return tmp_path_factory.mktemp("dev")


@pytest.fixture(scope="module")
def base_url(data: Path) -> Iterator[str]:
    """What ``make dev`` runs."""
    with Program(["-m", "chatserver", "dev", "--port", "0", "--data", str(data)]) as dev:
        yield dev.line("ready ")


def example(language: str, about: str = "") -> str:
    """The one example in a language whose code has a text in it."""
    (found,) = (code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if about in code)
    return str(found)


def test_the_python_example_talks_and_ends(base_url: str, tmp_path: Path) -> None:
    code = example("python", "ChatClient")
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


def test_the_receiver_example_verifies_what_is_told(base_url: str, data: Path, tmp_path: Path) -> None:
    def webhooks(*arguments: str) -> str:
        command = [sys.executable, "-m", "chatserver", "webhooks", *arguments, "--data", str(data)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60).stdout

    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    webhook, secret = webhooks("add", address).split()
    program = tmp_path / "receiver.py"
    code = example("python", "standardwebhooks")
    assert code.count("9000") == README.count("127.0.0.1:9000/") == 1
    program.write_text(code.replace("9000", str(port)))
    with Program([str(program)], {"WEBHOOK_SECRET": secret, "PYTHONUNBUFFERED": "1"}) as receiver:
        wait_until(lambda: accepts(port))
        assert "delivered: status 204" in webhooks("test", webhook)
        assert receiver.line("webhook.test ").endswith(f"{{'webhook': '{webhook}'}}")

        minted = httpx.post(f"{base_url}/v1/sandbox/tokens", json={"sub": "demo-buyer"}).json()
        wanted = {
            "order_id": "demo-1001", "reason": "not_received", "description": "It never came.",
            "desired_resolution": "full_refund",
        }  # fmt: skip
        authorization = {"Authorization": f"Bearer {minted['token']}"}
        opened = httpx.post(f"{base_url}/v1/disputes", json=wanted, headers=authorization).raise_for_status().json()
        for told in ("dispute.opened ", "payment.hold_requested "):
            assert f"'dispute': '{opened['id']}'" in receiver.line(told)

        forged = {"webhook-id": "1", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,bm8="}
        assert httpx.post(address, content=b"{}", headers=forged).status_code == 400
    webhooks("remove", webhook)


def accepts(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
