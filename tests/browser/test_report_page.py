"""The page as a browser has it: alone, offline, with working downloads."""

from __future__ import annotations

import base64
import csv
import html
import http.server
import io
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kilowit.report import ReportFiles, write_report
from report_records import study_records

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


class Links(HTMLParser):
    """Collects every attribute that a browser would follow."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str, dict[str, str | None]]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [
            (tag, value, given)
            for name, value in attrs
            if name in ("href", "src", "srcset", "action", "data") and value
        ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return write_report(study_records(), tmp_path_factory.mktemp("report"))


def read(files: ReportFiles) -> Links:
    links = Links()
    links.feed(files.html.read_text())
    return links


def test_page_refers_to_nothing_outside_itself(report: ReportFiles) -> None:
    links = read(report)
    assert {tag for tag, _, _ in links.links} == {"a"}
    for _, target, _ in links.links:
        assert target.startswith(("#", "data:text/csv", "tables/"))
        assert not target.startswith("#") or target[1:] in links.ids
    text = report.html.read_text()
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style is not None and "url(" not in style.group(1) and "@import" not in style.group(1)
    assert "default-src 'none'" in html.unescape(text)


def test_ids_are_unique(report: ReportFiles) -> None:
    ids = read(report).ids
    assert len(ids) == len(set(ids))


def test_every_table_has_a_csv_link_that_holds_the_file(report: ReportFiles) -> None:
    downloads = [(target, given) for _, target, given in read(report).links if "download" in given]
    assert len(downloads) == report.html.read_text().count("<table")
    for target, given in downloads:
        text = base64.b64decode(target.partition("base64,")[2]).decode()
        assert text == (report.html.parent / "tables" / str(given["download"])).read_text()
        assert len(list(csv.reader(io.StringIO(text)))) > 1


@pytest.fixture
def requests_of(tmp_path: Path, report: ReportFiles) -> Iterator[list[str]]:
    seen: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(report.html.parent))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            seen.append(str(args[0]))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/index.html"
    dom = run_chromium(tmp_path, "--dump-dom", url)
    server.shutdown()
    thread.join()
    server.server_close()
    (tmp_path / "dom.html").write_text(dom)
    yield seen


def run_chromium(folder: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
    ]  # fmt: skip
    done = subprocess.run([CHROMIUM, *flags, *arguments], capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


@pytest.mark.browser
@needs_chromium
def test_browser_asks_for_the_page_alone_and_its_script_runs(requests_of: list[str], tmp_path: Path) -> None:
    asked = [line for line in requests_of if "favicon" not in line]
    assert asked == ["GET /index.html HTTP/1.1"]
    dom = (tmp_path / "dom.html").read_text()
    assert '<th scope="col"><button type="button">' in dom  # the script of the page passed its own policy


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("width", [375, 1280])
def test_page_never_scrolls_sideways(tmp_path: Path, report: ReportFiles, width: int) -> None:
    # A frame of the wanted width: headless windows are never narrower than 500 pixels.
    probe = tmp_path / "probe.html"
    page = report.html.read_text()
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "page.html").write_text(page)
    probe.write_text(
        f'<iframe id=f src="page.html" width={width} height=900></iframe><p id=o></p><script>f.onload=()=>'
        "{const d=f.contentDocument.documentElement;o.textContent=`${d.scrollWidth} of ${d.clientWidth}`}</script>"
    )
    dom = run_chromium(tmp_path, "--allow-file-access-from-files", "--dump-dom", probe.as_uri())
    seen = re.search(r"(\d+) of (\d+)", dom)
    assert seen is not None
    assert int(seen.group(1)) <= int(seen.group(2))
