"""A page in Chromium, that complains about all that goes wrong in it and all that it asks for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def chromium() -> Iterator[Any]:
    """Chromium of this machine, driven by playwright; skips, or fails if CHAOS_REQUIRE names it, without one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    required = "chromium" in os.environ.get("CHAOS_REQUIRE", "").split(",")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        (pytest.fail if required else pytest.skip)("no Chromium with playwright here (pip install playwright)")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@contextmanager
def opened(
    browser: Any, place: Path | str, width: int = 1280, height: int = 800, *, dark: bool = False
) -> Iterator[Any]:
    """The page of a file or an address. At its end nothing may have been asked for from elsewhere, or gone wrong."""
    address = place.as_uri() if isinstance(place, Path) else place
    home = address.partition("?")[0].rpartition("/")[0]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    try:
        page = context.new_page()
        amiss: list[str] = []
        page.on("console", lambda message: amiss.append(message.text))
        page.on("pageerror", lambda error: amiss.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(home) else amiss.append(request.url))
        page.goto(address)
        yield page
        assert amiss == [], "nothing is asked for from elsewhere, and nothing goes wrong"
    finally:
        context.close()
