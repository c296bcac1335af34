"""`kilowit serve` as a process of its own: under load, stopped, killed, and asked by clients of others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kilowit.endpoint.books import Books
from kilowit.meter import read_ledger

DOCUMENT = "return the value of the list key " * 4


@pytest.fixture(scope="module")
def exported(tiny_exports: Path) -> Path:
    """A tiny model, exported for ONNX Runtime: its server loads neither torch nor transformers."""
    for package in ("fastapi", "uvicorn", "prometheus_client", "httpx2"):
        pytest.importorskip(package)
    return tiny_exports / "onnxruntime"


@contextlib.contextmanager
def server(exported: Path, store: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server on a free port; yield it and its address."""
    command = [sys.executable, "-m", "kilowit", "serve", f"tiny={exported}", "--port", "0", "--store", str(store)]
    process = subprocess.Popen(
        [*command, "--threads", "1", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        assert url, process.stderr.read()
        yield process, url
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def running(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(exported, tmp_path_factory.mktemp("store")) as (_, url):
        yield url


def ask(url: str, text: str = DOCUMENT) -> Any:
    import httpx2

    return httpx2.post(f"{url}/v1/summarize", json={"text": text}, timeout=30)


def test_sigterm_answers_what_was_taken_on_and_ends_well(exported: Path, tmp_path: Path) -> None:
    with server(exported, tmp_path) as (process, url), concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, url) for _ in range(24)]
        asked[0].result()
        process.send_signal(signal.SIGTERM)
        codes = []
        for one in asked:
            with contextlib.suppress(Exception):  # came after the door was shut: refused by the system
                codes.append(one.result().status_code)
        process.wait(20)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "total" in said and "Traceback" not in said
    assert set(codes) <= {200, 503} and 200 in codes
    assert Books(tmp_path).sums()["tiny"].num_documents == codes.count(200)
    assert read_ledger(tmp_path).clean


def test_a_killed_server_goes_on_with_its_sums(exported: Path, tmp_path: Path) -> None:
    with server(exported, tmp_path) as (process, url):
        answered = [ask(url).json() for _ in range(5)]
        time.sleep(1.2)  # a sample of the meter
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    before = read_ledger(tmp_path).total.energy_total_joule
    with server(exported, tmp_path) as (_, url):
        import httpx2

        ask(url)
        told = httpx2.get(f"{url}/v1/totals").json()["ever"]["requests"]
    assert told["num_documents"] == len(answered) + 1
    assert told["joule"] > sum(answer["bill"]["energy_joule"] for answer in answered)
    after = read_ledger(tmp_path).total.energy_total_joule
    assert before is not None and after is not None and after > before


def test_a_body_that_never_ends_and_bytes_that_are_no_http_hold_nobody_up(exported: Path, tmp_path: Path) -> None:
    with server(exported, tmp_path) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        held = socket.create_connection((host, int(port)))
        held.sendall(b"POST /v1/summarize HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        huge = socket.create_connection((host, int(port)))
        huge.sendall(b"POST /v1/summarize HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{")
        noise = socket.create_connection((host, int(port)))
        noise.sendall(bytes(range(256)) * 8)
        assert ask(url).status_code == 200
        huge.settimeout(10)
        assert b" 413 " in huge.recv(4096).split(b"\r\n")[0]
        held.settimeout(15)
        assert b" 408 " in held.recv(4096).split(b"\r\n")[0]
        assert process.poll() is None
        for connection in (held, huge, noise):
            connection.close()


def test_an_unmodified_tritonclient_is_answered(exported: Path, tmp_path: Path) -> None:
    http = pytest.importorskip("tritonclient.http")
    import numpy as np

    with server(exported, tmp_path) as (_, url):
        client = http.InferenceServerClient(url.removeprefix("http://"))
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
        assert client.get_model_metadata("tiny")["inputs"][0]["name"] == "text"
        text = http.InferInput("text", [2], "BYTES")
        text.set_data_from_numpy(np.array([DOCUMENT, "x"], dtype=object), binary_data=False)
        wanted = [http.InferRequestedOutput(name, binary_data=False) for name in ("summary", "energy_joules")]
        told = client.infer("tiny", [text], outputs=wanted)
        mine = [s["text"] for s in ask(url, DOCUMENT).json()["summaries"]]
        assert told.as_numpy("summary")[0] in (mine[0], mine[0].encode())
        assert (told.as_numpy("energy_joules") > 0).all()
        said = told.get_response()["parameters"]
        assert (
            said["energy_joules_low"] <= said["energy_joules"] <= said["energy_joules_high"] and said["energy_source"]
        )
        with pytest.raises(Exception, match="binary"):
            client.infer("tiny", [text], outputs=[http.InferRequestedOutput("summary", binary_data=True)])
        client.close()


def test_a_sentence_says_what_an_option_got_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kilowit", "serve", str(tmp_path), "--host", "0.0.0.0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "there is no token" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("protocol", ["json", "events", "oip"])
def test_a_load_is_answered_in_every_protocol_and_both_sides_agree_on_its_joules(
    running: str, protocol: str, tmp_path: Path
) -> None:
    corpus = tmp_path / "documents.jsonl"
    corpus.write_text("".join(f'{{"document": "{DOCUMENT} {i}"}}\n' for i in range(5)))
    command = [sys.executable, "-m", "kilowit", "bench", running, str(corpus), "--protocol", protocol, "--json"]
    wanted = ["--num-documents", "20", "--rate", "50", "--batch-size", "4"]
    ended = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = {row["scenario"]: row for row in json.loads(ended.stdout)["scenarios"]}
    assert list(rows) == ["single_stream", "fixed_batch", "random_arrivals", "offline"]
    for row in rows.values():
        assert (row["num_summaries"], row["num_failed"], row["num_refused"]) == (20, 0, 0)
        assert 0 < row["latency_p50_second"] <= row["latency_p99_second"]
        assert row["share_joule"] > 0 and row["goodput_per_second"] == row["examples_per_second"]
        firsts = [row[f"{name}_second"] for name in ("server_first_token_p50", "first_token_p50", "first_token_p95")]
        if protocol == "events":
            assert 0 < firsts[0] <= firsts[1] <= firsts[2]
        else:
            assert firsts == [None, None, None]


def test_a_load_on_nothing_is_one_clear_error(tmp_path: Path) -> None:
    from kilowit.endpoint.asking import Asker
    from kilowit.errors import ExecutorError, StudyError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ExecutorError, match="no answer"):
        Asker(f"http://127.0.0.1:{port}").totals()
    with pytest.raises(StudyError, match="not the address"):
        Asker("localhost:8000")
