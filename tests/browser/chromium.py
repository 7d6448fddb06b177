"""A real Chromium for the browser tests.

One of the machine's own is preferred. Where there is none, ``python -m tests.browser.chromium`` (part of ``make test``)
has Playwright download its own.
"""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Page, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS: Final = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def installed() -> str | None:
    """The machine's own Chromium or Chrome."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or (str(MACOS) if MACOS.exists() else None)


@asynccontextmanager
async def page() -> AsyncIterator[Page]:
    """An empty page of a fresh browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=installed(), args=ARGUMENTS)
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


if __name__ == "__main__":
    if installed() is None:
        sys.exit(subprocess.call([sys.executable, "-m", "playwright", "install", "chromium-headless-shell"]))
