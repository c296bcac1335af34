"""Take the screenshots of `kilowit serve`'s page that the documentation shows, from a real server with a real model.

    python tools/endpoint_screenshots.py RUN [--text FILE] [--out docs/how-to/images] [--region country/FR]

RUN is a run that kept its model: what its training took is on the page. It is served in fp32 and in int8 by ONNX
Runtime, asked a few times for books that are not empty, then looked at in light, dark and on a narrow screen. Needs
playwright, pillow and chromium. The figures in the pictures are what this machine's sensors, or its model, say while
they are taken.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

NUM_BEFORE = 12  # summaries that are asked for before the first picture
WATCH_MS = 40_000  # so that the chart has something to show
MAX_BYTE = 150_000
NUM_COLOURS = 200  # a picture of a page needs no more
MAX_HEIGHT = 2300  # of a picture: a narrow page is long
VIEWS: dict[str, dict[str, Any]] = {
    "page-light": {"viewport": {"width": 1120, "height": 900}, "color_scheme": "light"},
    "page-dark": {"viewport": {"width": 1120, "height": 900}, "color_scheme": "dark"},
    "page-narrow": {"viewport": {"width": 375, "height": 812}, "color_scheme": "light"},
}


def main() -> int:
    """Serve, ask, look; return 1 if a picture is too large for a repository."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, default=Path("docs/how-to/images"))
    parser.add_argument("--region", default="country/FR")
    parser.add_argument("--text", type=Path, help="what is summarized; else the page's example")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as store, served(asked, store) as url, chromium() as browser:
        for name, how in VIEWS.items():
            look(browser, url, asked.out / f"{name}.png", how, asked.text.read_text() if asked.text else None)
    sizes = {path.name: path.stat().st_size for path in sorted(asked.out.glob("page-*.png"))}
    print("\n".join(f"{size:>8}  {name}" for name, size in sizes.items()))
    return int(max(sizes.values()) > MAX_BYTE)


@contextlib.contextmanager
def served(asked: argparse.Namespace, store: str) -> Iterator[str]:
    """Yield the address of a server of the run on two runtimes."""
    command = [sys.executable, "-m", "kilowit", "serve", f"bart={asked.run}", "--port", "0", "--store", store]
    command += ["--runtime", "onnxruntime:fp32", "--runtime", "onnxruntime:int8", "--threads", "1"]
    command += ["--region", asked.region]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Yield a headless browser that reaches this machine alone."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield browser
        browser.close()


def look(browser: Any, url: str, path: Path, how: dict[str, Any], text: str | None) -> None:
    """Ask both runtimes by hand until there is something to see, then take a picture of the whole page."""
    page = browser.new_context(**how).new_page()
    page.goto(url)
    page.locator("#first option").nth(1).wait_for(state="attached")
    page.click("#example")
    if text is not None:
        page.fill("#text", text)
    page.select_option("#second", index=2)
    for _ in range(NUM_BEFORE):
        page.click("#go")
        page.locator("#state", has_text="Done.").wait_for()
        page.wait_for_timeout(WATCH_MS / NUM_BEFORE)
    page.fill("#region", "country/PL")
    page.click("#dial button")
    page.locator("#elsewhere", has_text="No machine").wait_for()
    page.evaluate("document.activeElement.blur(); document.getElementById('text').scrollTop = 0")
    size = page.evaluate("({width: innerWidth, height: document.documentElement.scrollHeight})")
    size["height"] = min(size["height"], MAX_HEIGHT)
    page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, **size})
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(NUM_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
