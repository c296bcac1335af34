"""A stand-in for the Hugging Face hub on the loopback interface, in the hub's own layout: enough to download from.

``root/models/<owner>/<name>/<files>`` and ``root/datasets/<owner>/<name>/<revision>/<files>`` are served under the
hub's addresses; ``revision`` has its ``/`` written as ``@``, and models have the one revision main.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class _Handler(BaseHTTPRequestHandler):
    root: Path
    requests: list[str]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._posted = self.rfile.read(length).decode()
        self._answer(with_body=True)

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.requests.append(f"{self.command} {path}")
        steps = path.strip("/").split("/")
        if steps[0] == "api" and len(steps) >= 4:
            self._api(steps[1], "/".join(steps[2:4]), steps[4:])
        elif "resolve" in steps:
            self._file(steps, with_body)
        else:
            self._missing("EntryNotFound")

    def _folder(self, kind: str, repository: str, revision: str) -> Path | None:
        """Return the folder of a revision, which may be named by its commit."""
        base = self.root / kind / repository
        names = [path.name for path in base.iterdir()] if base.is_dir() else []
        return next((base / n for n in names if revision in (n.replace("@", "/"), commit(kind, repository, n))), None)

    def _api(self, kind: str, repository: str, rest: list[str]) -> None:
        what = rest[0] if rest else "revision"
        known = [name.replace("@", "/") for name in self._revisions(kind, repository)]
        text = "/".join(rest[1:]) or "main"
        candidates = [*known, *(commit(kind, repository, n.replace("/", "@")) for n in known)]
        revision = next((name for name in candidates if text == name or text.startswith(f"{name}/")), None)
        if not known:
            return self._missing("RepoNotFound")
        if revision is None:
            return self._missing("RevisionNotFound")
        folder = self._folder(kind, repository, revision)
        assert folder is not None
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if what == "revision":
            siblings = [{"rfilename": path.relative_to(folder).as_posix()} for path in files]
            sha = commit(kind, repository, folder.name)
            return self._json(
                {
                    "id": repository,
                    "_id": "0" * 24,
                    "sha": sha,
                    "siblings": siblings,
                    "private": False,
                    "disabled": False,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                    "gated": False,
                }
            )
        if what == "tree":
            below = text.removeprefix(revision).strip("/")
            start = folder / below
            if not start.is_dir():
                return self._missing("EntryNotFound")
            listed = start.rglob("*") if "recursive=true" in self.path.lower() else start.iterdir()
            return self._json([_entry(folder, path) for path in sorted(listed)])
        if what == "paths-info":
            wanted = unquote(self._posted)
            asked = (
                json.loads(self._posted)["paths"]
                if self._posted.startswith("{")
                else [item.removeprefix("paths=") for item in wanted.split("&") if item.startswith("paths=")]
            )
            return self._json([_entry(folder, folder / path) for path in asked if (folder / path).exists()])
        return self._missing("EntryNotFound")

    def _revisions(self, kind: str, repository: str) -> list[str]:
        base = self.root / kind / repository
        return [path.name for path in base.iterdir()] if base.is_dir() else []

    def _file(self, steps: list[str], with_body: bool) -> None:
        kind = "datasets" if steps[0] == "datasets" else "models"
        at = steps.index("resolve")
        repository = "/".join(steps[at - 2 : at])
        rest = "/".join(steps[at + 1 :])
        for name in self._revisions(kind, repository):
            for revision in (name.replace("@", "/"), commit(kind, repository, name)):
                path = self.root / kind / repository / name / rest.removeprefix(f"{revision}/")
                if rest.startswith(f"{revision}/") and path.is_file():
                    return self._send_file(path, commit(kind, repository, name), with_body)
        return self._missing("EntryNotFound" if self._revisions(kind, repository) else "RepoNotFound")

    def _send_file(self, path: Path, sha: str, with_body: bool) -> None:
        body = path.read_bytes()
        start = 0
        if requested := self.headers.get("Range"):
            first, _, last = requested.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(body) - 1), len(body) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
            body = body[start : end + 1]
        else:
            self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"')
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def commit(kind: str, repository: str, revision: str) -> str:
    """Return the made-up commit of a revision."""
    return hashlib.sha1(f"{kind}/{repository}/{revision}".encode()).hexdigest()


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    oid = hashlib.sha1(name.encode()).hexdigest()
    if path.is_dir():
        return {"type": "directory", "oid": oid, "size": 0, "path": name}
    return {"type": "file", "oid": oid, "size": path.stat().st_size, "path": name}


@contextmanager
def hub_stand_in(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve `root`; yield its address and the list of requests that it got."""
    requests: list[str] = []
    handler = type("Handler", (_Handler,), {"root": root, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
