"""The page of `kilowit serve` in headless Chromium: by hand, by keyboard, narrow, dark, and when the server dies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
TEXT = "return the value of the list key"
WAIT_MS = 20_000


@pytest.fixture(scope="module")
def exported(tiny_exports: Path) -> Path:
    for package in ("playwright", "fastapi", "uvicorn", "prometheus_client"):
        pytest.importorskip(package)
    return tiny_exports / "onnxruntime"


@pytest.fixture(scope="module")
def browser(exported: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Whatever is not on this machine has no address: a page that asked for it would say so in the console.
        flags = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def served(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    command = [sys.executable, "-m", "kilowit", "serve", f"first={exported}", f"second={exported}", "--port", "0"]
    options = ["--threads", "1", "--region", "country/FR", "--store", str(tmp_path_factory.mktemp("store"))]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()


class Seen:
    """A page, with what it asked for and what it complained of."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.goto(url)
        self.page.locator("#first option").nth(1).wait_for(state="attached")


def wait_for(page: Any, selector: str, text: str) -> None:
    page.locator(selector, has_text=text).wait_for()


def test_a_click_brings_the_streamed_summary_with_its_joules_and_nothing_leaves_the_machine(
    browser: Any, served: tuple[Any, str]
) -> None:
    seen = Seen(browser, served[1])
    page = seen.page
    page.fill("#text", TEXT)
    page.click("#go")
    wait_for(page, "#state", "Done.")
    shown = page.inner_text("#answers")
    named = ("Energy", "CO₂e", "Price", "Latency", "Per 1,000 summaries", "Tokens", "first text after", "waiting")
    assert all(name in shown for name in named), shown
    assert re.search(r"[0-9.]+ to [0-9.]+ .?J", shown) and re.search(r"[0-9.]+ to [0-9.]+ .?g", shown)
    assert page.inner_text(".answer .text")
    assert int(page.get_attribute(".answer .text", "data-pieces") or 0) >= 1
    assert "smartphone" in page.inner_text("#everyday") and "EPA" in page.inner_text("#everyday-source")
    page.wait_for_function("document.getElementById('today-count').textContent !== '0'")
    for filled in ("today-count", "today-energy", "today-idle", "today-carbon", "today-thousand", "power"):
        assert page.inner_text(f"#{filled}") not in ("–", "unknown", "")
    page.wait_for_selector("#chart-line[d^=M]", state="attached")
    page.click("summary")
    assert "energy from" in page.inner_text("#source") and "phase of the meter" in page.inner_text("details")
    assert not page.is_visible("#token")
    assert (seen.complaints, seen.hosts) == ([], {served[1].removeprefix("http://")})


def test_two_runtimes_stand_side_by_side_and_the_dial_prices_both_anew(browser: Any, served: tuple[Any, str]) -> None:
    page = Seen(browser, served[1]).page
    page.fill("#text", TEXT)
    page.select_option("#second", "second")
    page.click("#go")
    wait_for(page, "#state", "Done.")
    assert page.locator(".answer").count() == 2
    assert page.locator(".range rect").count() == 6  # of each its interval, on one scale
    assert "less energy than" in page.inner_text("#versus")
    needle = page.get_attribute("#needle", "d")
    page.fill("#region", "country/PL")
    page.locator("#pue").press("ArrowRight")
    page.click("#dial button")
    wait_for(page, "#elsewhere", "CO₂e")
    assert page.get_attribute("#needle", "d") != needle
    assert page.locator("#regions option").count() > 300
    said = page.inner_text("#elsewhere")
    assert "first:" in said and "second:" in said
    assert page.inner_text("#pue-value") == "1.05"
    page.fill("#region", "country/XX")
    page.click("#dial button")
    wait_for(page, "#elsewhere", "no grid factor")


def test_the_keyboard_is_enough(browser: Any, served: tuple[Any, str]) -> None:
    page = Seen(browser, served[1]).page
    page.keyboard.press("Tab")  # the link that leads to the text
    page.keyboard.press("Enter")
    page.locator("#text").focus()
    page.keyboard.type(TEXT)
    for _ in range(3):  # model, beside it, the button
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "go"
    page.keyboard.press("Enter")
    wait_for(page, "#state", "Done.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_has_no_sideways_scroll_and_enough_contrast(
    browser: Any, served: tuple[Any, str], scheme: str
) -> None:
    view = {"width": 375, "height": 700}
    page = Seen(browser, served[1], viewport=view, color_scheme=scheme, reduced_motion="reduce").page
    page.fill("#text", TEXT * 20)
    page.click("#go")
    wait_for(page, "#state", "Done.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("document.getAnimations().length") == 0  # as those who asked for less motion want it
    nameless = "[...document.querySelectorAll('input,select,textarea')].filter((one) => !one.labels.length).length"
    assert page.evaluate(nameless) == 0
    pairs = page.evaluate(
        """() => ["h1", "h2", "label", "#go", "#example", ".answer .text", "dd small", ".key", "#alive"].map((name) => {
          let at = document.querySelector(name), back;
          const ink = getComputedStyle(at).color;
          do {
            back = getComputedStyle(at).backgroundColor;
            at = at.parentElement;
          } while (back.endsWith(", 0)") && at);
          return [ink, back];
        })"""
    )
    assert all(contrast(ink, back) >= 4.5 for ink, back in pairs), pairs  # WCAG 2.2, 1.4.3, AA


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two CSS colours by WCAG 2.2."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(float(part)) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_when_the_server_dies_the_page_says_so(browser: Any, served: tuple[Any, str]) -> None:
    """Stands last: it kills the server that the others ask."""
    process, url = served
    page = Seen(browser, url).page
    process.kill()
    process.wait()
    page.wait_for_selector("#trouble:not([hidden])")
    assert "does not answer" in page.inner_text("#trouble")
    page.fill("#text", TEXT)
    page.click("#go")
    wait_for(page, "#answers", "went away")
