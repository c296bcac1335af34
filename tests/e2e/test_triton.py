"""The real tritonserver, from the wheel of nvidia-pytriton: started as in a container, and by ``kilowit serve``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kilowit
from kilowit.endpoint.books import Books
from kilowit.endpoint.triton_environment import find_triton
from kilowit.endpoint.triton_server import TritonClient
from kilowit.meter import read_ledger
from kilowit.settings import RuntimeSettings
from own_environment import own_environment
from triton_clients import infer, infer_at_once

DOCUMENTS = [f"return the value of the list key {'and the next ' * (number % 7)}{number}" for number in range(48)]
READY_SECOND = 20.0  # the bar
RUNTIMES = ("onnxruntime", "ctranslate2")


@pytest.fixture(scope="module")
def environment(repository: Path) -> Path:
    """An environment with Triton in it."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the wheel of nvidia-pytriton holds programs for Linux on x86-64 alone")
    if tuple(map(int, platform.libc_ver()[1].split(".")[:2] or (0,))) < (2, 35):
        pytest.skip("the wheel of nvidia-pytriton needs glibc 2.35")
    for package in ("torch", "onnx", "onnxruntime", "ctranslate2"):
        pytest.importorskip(package)
    folder = own_environment(repository, "triton")
    found = find_triton(folder, frozenset(RUNTIMES))
    variables = found.variables(os.environ)
    tried = subprocess.run([str(found.binary), "--help"], env=variables, capture_output=True, text=True, check=False)
    if "cannot open shared object" in tried.stderr:
        pytest.skip(f"tritonserver does not run here: {tried.stderr.strip()}")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny model as a model repository, by runtime."""
    from tiny_summarizer import write_model

    folder = tmp_path_factory.mktemp("triton")
    model = write_model(folder / "tiny")
    return {
        name: kilowit.export_model(model, folder / name, RuntimeSettings(name=name), target="triton").folder
        for name in RUNTIMES
    }


@pytest.fixture(scope="module")
def expected(exported: dict[str, Path]) -> dict[str, list[str]]:
    """What kilowit itself writes on each runtime."""
    written = {}
    for name, folder in exported.items():
        with kilowit.load_summarizer(folder / "tiny" / "1", num_threads=1) as summarizer:
            written[name] = summarizer.summarize(DOCUMENTS)
    assert len(set(written["onnxruntime"])) > 10
    return written


@contextlib.contextmanager
def plain_triton(environment: Path, repository: Path, workspace: Path) -> Iterator[str]:
    """Start tritonserver as a container does: its Python has numpy alone, the rest lies beside the model."""
    found = find_triton(environment, frozenset(RUNTIMES))
    bare = workspace / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    packages = next((environment / "lib").glob("python*/site-packages"))
    for name in ("numpy", "numpy.libs"):
        (next((bare / "lib").glob("python*/site-packages")) / name).symlink_to(packages / name)
    (repository / "tiny" / "1" / "packages").symlink_to(packages)
    variables = found.variables(os.environ) | {"PATH": f"{bare / 'bin'}:{os.environ['PATH']}"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [str(found.binary), "--model-repository", str(repository)]
    command += ["--backend-directory", str(found.backends(workspace)), "--http-address", "127.0.0.1"]
    command += ["--http-port", str(port), "--allow-grpc", "false", "--allow-metrics", "false"]
    command += ["--model-control-mode", "explicit", "--load-model", "tiny"]  # the wheel has no backend onnxruntime
    with (workspace / "log").open("wb") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            client, began_second = TritonClient("127.0.0.1", port), time.monotonic()
            while not client.is_ready():
                assert process.poll() is None, (workspace / "log").read_text()
                assert time.monotonic() - began_second < READY_SECOND, (workspace / "log").read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def test_a_plain_triton_loads_the_repository_and_writes_what_kilowit_writes(
    environment: Path, exported: dict[str, Path], expected: dict[str, list[str]], tmp_path: Path
) -> None:
    with plain_triton(environment, exported["onnxruntime"], tmp_path) as url:
        told = infer_at_once(url, "tiny", DOCUMENTS)
    (exported["onnxruntime"] / "tiny" / "1" / "packages").unlink()
    assert [one["summary"][0].decode() for one in told] == expected["onnxruntime"]
    assert max(one["batch_size"][0] for one in told) > 1
    assert {one["energy_joules"][0] for one in told} == {-1.0}  # nobody meters it
    assert all(one["num_input_tokens"][0] > 0 and one["num_output_tokens"][0] > 0 for one in told)


@contextlib.contextmanager
def served(environment: Path, store: Path, *models: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``kilowit serve --engine triton``; yield it and its address."""
    command = [sys.executable, "-m", "kilowit", "serve", *models, "--engine", "triton", "--store", str(store)]
    command += ["--port", "0", "--threads", "1", "--region", "country/FR"]
    variables = {**os.environ, "KILOWIT_TRITON": str(environment)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            url = process.stdout.readline().strip()
            assert url, process.stderr.read()
            yield process, url
        finally:
            if process.poll() is None:
                process.terminate()


@pytest.fixture(scope="module")
def running(
    environment: Path, exported: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, float]]:
    """Both runtimes in one Triton under our meter: address, store, and the seconds until it was ready."""
    store, began_second = tmp_path_factory.mktemp("store"), time.monotonic()
    models = [f"{name}={folder / 'tiny' / '1'}" for name, folder in exported.items()]
    with served(environment, store, *models) as (_, url):
        yield url, store, time.monotonic() - began_second


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_eight_clients_are_answered_in_batches_with_what_kilowit_writes_and_what_it_took(
    running: tuple[str, Path, float], expected: dict[str, list[str]], runtime: str
) -> None:
    url, store, ready_second = running
    assert ready_second < READY_SECOND
    before = Books(store).sums().get(runtime)
    told = infer_at_once(url, runtime, DOCUMENTS)
    assert [one["summary"][0].decode() for one in told] == expected[runtime]
    assert max(one["batch_size"][0] for one in told) > 1
    assert all(one["energy_joules"][0] > 0 and one["co2e_grams"][0] > 0 for one in told)
    booked = Books(store).sums()[runtime]
    joule = booked.joule - (0.0 if before is None else before.joule)
    assert sum(one["energy_joules"][0] for one in told) == pytest.approx(joule, rel=1e-3)


def test_requests_of_several_documents_and_of_other_searches_are_answered_each_in_its_way(
    running: tuple[str, Path, float], expected: dict[str, list[str]]
) -> None:
    url, store, _ = running
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        whole = [pool.submit(infer, url, "onnxruntime", DOCUMENTS[i : i + 4]) for i in range(0, 16, 4)]
        short = [
            pool.submit(infer, url, "onnxruntime", DOCUMENTS[:2], max_new_tokens=3, client="brief") for _ in range(4)
        ]
    texts = [text.decode() for one in whole for text in one.result()["summary"]]
    assert texts == expected["onnxruntime"][:16]
    assert {tuple(one.result()["num_output_tokens"]) for one in short} == {(3, 3)}
    assert Books(store).sums(of=lambda account: account.client)["brief"].num_documents == 8


@pytest.mark.parametrize(
    ("texts", "parameters", "said"),
    [
        (["x"], {"max_new_tokens": 9999}, "max_new_tokens is 9999; a request may ask for 256"),
        (["x"], {"num_beams": 0}, "num_beams is 0. Give at least 1."),
        (["x"], {"temperature": 1}, "a parameter that there is none of: temperature. Known: num_beams"),
        (["x"], {"min_new_tokens": True}, "min_new_tokens must be a whole number"),
        (["x"], {"client": "no tag"}, "client must be a tag"),
        (["x"] * 9, {}, "batch-size must be <= 8"),
    ],
)
def test_a_request_that_is_wrong_is_refused_with_one_sentence(
    running: tuple[str, Path, float], texts: list[str], parameters: dict[str, Any], said: str
) -> None:
    http = pytest.importorskip("tritonclient.http")
    assert http
    with pytest.raises(Exception, match=said.replace("(", r"\(")) as told:
        infer(running[0], "onnxruntime", texts, **parameters)
    assert "400" in str(told.value) and "Traceback" not in str(told.value)


def test_bytes_that_are_no_text_are_refused_alone(running: tuple[str, Path, float]) -> None:
    import numpy as np

    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(running[0].removeprefix("http://")) as client:
        text = http.InferInput("text", [2, 1], "BYTES")
        text.set_data_from_numpy(np.array([[b"good"], [b"\xff\xfe"]], dtype=object))
        with pytest.raises(Exception, match="document 2: not UTF-8"):
            client.infer("onnxruntime", [text])


def logged(store: Path, text: str) -> str:
    """Return the address that Triton's log names after some words."""
    return (store / "triton.log").read_text().partition(text)[2].split()[0].strip('"')


GRPC_CLIENT = """
import sys, numpy as np, tritonclient.grpc as grpc
client = grpc.InferenceServerClient(sys.argv[1])
text = grpc.InferInput("text", [1, 1], "BYTES")
text.set_data_from_numpy(np.array([[sys.argv[2].encode()]], dtype=object))
told = client.infer("onnxruntime", [text], request_id="by-grpc")
print(told.as_numpy("summary")[0, 0].decode(), told.as_numpy("energy_joules")[0, 0] > 0)
"""


def test_an_unmodified_client_is_answered_over_grpc(
    running: tuple[str, Path, float], environment: Path, expected: dict[str, list[str]]
) -> None:
    _, store, _ = running
    address = logged(store, "Started GRPCInferenceService at ")
    command = [str(environment / "bin" / "python3"), "-c", GRPC_CLIENT, address, DOCUMENTS[0]]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert asked.stdout.strip() == f"{expected['onnxruntime'][0]} True", asked.stderr
    assert "by-grpc" in (store / "requests.jsonl").read_text()


def test_tritons_own_metrics_tell_the_energy(running: tuple[str, Path, float]) -> None:
    url, store, _ = running
    infer(url, "ctranslate2", DOCUMENTS[:1])
    address = logged(store, "Started Metrics Service at ")
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    told = {line.partition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("kilowit_")}
    assert told['kilowit_energy_joules_total{model="ctranslate2"}'] > 0
    assert told['kilowit_co2e_grams_total{model="ctranslate2"}'] > 0


def test_bench_drives_it_by_the_open_inference_protocol(running: tuple[str, Path, float], tmp_path: Path) -> None:
    corpus = tmp_path / "documents.jsonl"
    corpus.write_text("".join(json.dumps({"document": document}) + "\n" for document in DOCUMENTS[:5]))
    command = [sys.executable, "-m", "kilowit", "bench", running[0], str(corpus), "--protocol", "oip", "--json"]
    wanted = ["--num-documents", "20", "--rate", "50", "--batch-size", "4"]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["scenarios"]:
        assert (row["num_summaries"], row["num_failed"], row["num_refused"]) == (20, 0, 0)
        assert row["share_joule"] > 0 and row["server_joule"] is None  # Triton keeps no books that it could tell of
    too_many = subprocess.run([*command, "--scenario", "fixed_batch"], capture_output=True, text=True, check=False)
    assert too_many.returncode == 2 and "the server takes 8" in too_many.stderr
    other = subprocess.run([*command[:-3], "--json"], capture_output=True, text=True, check=False)
    assert other.returncode == 5 and "--protocol oip" in other.stderr


def test_sigterm_cuts_nobody_off_and_the_books_are_what_the_meter_saw(
    environment: Path, exported: dict[str, Path], tmp_path: Path
) -> None:
    codes: list[str] = []

    def ask(number: int) -> None:
        try:
            infer(url, "tiny", [DOCUMENTS[number % len(DOCUMENTS)]])
            codes.append("answered")
        except Exception as error:
            codes.append("refused" if "unknown model" in str(error) or "111" in str(error) else f"lost: {error!r}")

    with served(environment, tmp_path, str(exported["onnxruntime"])) as (process, url):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for number in range(200):
                pool.submit(ask, number)
                if number == 60:
                    process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    assert "total" in said and "serve tiny" in said and "Traceback" not in said
    assert set(codes) == {"answered", "refused"}, codes
    sums = Books(tmp_path).sums()
    assert sums["tiny"].num_documents == codes.count("answered")
    ledger = read_ledger(tmp_path)
    assert ledger.clean
    booked = sum(amount.joule for amount in sums.values())
    assert booked == pytest.approx(ledger.total.energy_total_joule, rel=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ledger.jsonl", "power.csv", "requests.jsonl", "triton.log",
    ]  # fmt: skip


def test_a_killed_server_takes_triton_with_it_and_goes_on_with_its_sums(
    environment: Path, exported: dict[str, Path], tmp_path: Path
) -> None:
    with served(environment, tmp_path, str(exported["ctranslate2"])) as (process, url):
        took = sum(infer(url, "tiny", [document])["energy_joules"][0] for document in DOCUMENTS[:5])
        process.kill()
        process.wait(10)
        client, began_second = TritonClient("127.0.0.1", int(url.rpartition(":")[2])), time.monotonic()
        while client.is_ready():
            assert time.monotonic() - began_second < 10, "Triton outlived the server that started it"
            time.sleep(0.05)
    with served(environment, tmp_path, str(exported["ctranslate2"])) as (process, url):
        took += infer(url, "tiny", [DOCUMENTS[5]])["energy_joules"][0]
        process.terminate()
        process.communicate(timeout=30)
    tiny = Books(tmp_path).sums()["tiny"]
    assert tiny.num_documents == 6 and tiny.joule == pytest.approx(took, rel=1e-3)


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json"])
def test_a_model_that_triton_cannot_load_is_one_clear_error(
    environment: Path, exported: dict[str, Path], tmp_path: Path, name: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exported["onnxruntime"] / "tiny" / "1", broken)
    (broken / name).write_bytes(b"broken")
    command = [sys.executable, "-m", "kilowit", "serve", str(broken), "--engine", "triton", "--port", "0"]
    command += ["--store", str(tmp_path / "store"), "--triton-env", str(environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (5, "")
    said = "the tokenizer cannot be loaded" if name == "tokenizer.json" else "cannot load the graph"
    assert "Triton does not start" in done.stderr and said in done.stderr and "triton.log" in done.stderr
    assert "Traceback (most" not in done.stderr
