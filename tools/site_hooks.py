"""What the site needs beyond the pages in docs/: the sample as a page, and repository files that pages link to.

mkdocs calls these (`hooks:` in mkdocs.yml).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SAMPLE: Final = "sample/summarizer.py"
SAMPLE_INDEX: Final = "sample/README.md"
OUTSIDE: Final = "repository"  # folder of the site for files from outside docs/
LINK: Final = re.compile(r"\]\((?P<target>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the sample as a page and the repository's files that are linked to."""
    from mkdocs.structure.files import File

    linked = {path for page in files.documentation_pages() for path, _ in _outside(page.src_uri, page.content_string)}
    for path in sorted(linked):
        files.append(File.generated(config, f"{OUTSIDE}/{path}", abs_src_path=str(REPOSITORY / path)))
    page = sample_page((REPOSITORY / "docs" / SAMPLE).read_text(encoding="utf-8"))
    files.append(File.generated(config, SAMPLE.replace(".py", ".md"), content=page))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links that leave docs/ at the copies in the site, and those of a copy into docs/ at its pages."""
    if page.file.src_uri.startswith(f"{OUTSIDE}/"):
        to_root = "../" * (page.file.src_uri.count("/") - 1)
        return markdown.replace(f"]({to_root}docs/", f"](../{to_root}")
    for path, target in _outside(page.file.src_uri, markdown):
        up = "../" * page.file.src_uri.count("/")
        markdown = markdown.replace(f"]({target}", f"]({up}{OUTSIDE}/{path}")
    return markdown.replace("](summarizer.py)", "](summarizer.md)") if page.file.src_uri == SAMPLE_INDEX else markdown


def sample_page(source: str) -> str:
    """Return a py:percent notebook as Markdown, its code in fences."""
    import jupytext

    parts = []
    for cell in jupytext.reads(source, fmt="py:percent").cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
    return "\n\n".join(parts) + "\n"


def _outside(page: str, markdown: str) -> Iterator[tuple[str, str]]:
    """Yield (path in the repository, target as written) of each link from a page of docs/ to a file outside it."""
    for found in LINK.finditer(markdown):
        target = found["target"]
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
        if not path.startswith("docs/") and (REPOSITORY / path).is_file():
            yield path, target
