"""A store that cannot be written: one clear message, the documented exit code, no half-written record."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from study_bench import ONE_CELL, Bench

from kilowit.errors import StoreError
from kilowit.record import Record
from kilowit.store import RunFolder, Store


def record_of(folder: RunFolder, message: str = "") -> Record:
    return Record(
        run_id=folder.run_id, cell_key=folder.cell_key, study_name="green", attempt=1, status="finished",
        started_at_utc="", ended_at_utc="", cell=folder.cell, environment={}, error_message=message,
    )  # fmt: skip


def mount(folder: Path, options: str) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount(folder, "size=1M")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "read-only"
    folder.mkdir()
    mount(folder, "ro,size=1M")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_read_only_store_is_refused_with_exit_code_4(bench: Bench, read_only_disk: Path) -> None:
    bench.store = Store(read_only_disk / "runs")
    with pytest.raises(StoreError, match="read-only file system") as caught:
        bench.run(ONE_CELL)
    assert caught.value.exit_code == 4
    assert "--store" in (caught.value.hint or "")


def test_a_file_where_the_store_should_be_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="a file stands where the store should be"):
        bench.run(ONE_CELL)


def test_a_full_disk_leaves_no_unborn_folder(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"\0" * 900 * 1024)
    store = Store(small_disk / "runs")
    with pytest.raises(StoreError, match="disk is full"):
        store.create({}, label="x", cell_key="k", attempt=1)
    assert store.folders() == []


def test_a_record_that_does_not_fit_leaves_no_half_of_it(small_disk: Path) -> None:
    folder = Store(small_disk / "runs").create({}, label="x", cell_key="k", attempt=1)
    with pytest.raises(StoreError, match="disk is full"):
        folder.write_record(record_of(folder, "x" * 2_000_000))
    assert sorted(path.name for path in folder.path.iterdir()) == ["cell.json"]


def test_a_record_fits_on_a_disk_that_filled_up_while_the_cell_ran(small_disk: Path) -> None:
    folder = Store(small_disk / "runs").create({}, label="x", cell_key="k", attempt=1)
    with pytest.raises(OSError), (small_disk / "ballast").open("wb") as ballast:
        while True:
            ballast.write(b"\0" * 65536)
            ballast.flush()
    folder.write_record(record_of(folder))
    assert folder.record is not None


def test_a_worker_on_a_full_disk_fails_as_disk_full_and_is_recorded(bench: Bench, small_disk: Path) -> None:
    bench.store = Store(small_disk / "runs")
    bench.behaviours = ["full"]
    assert bench.run(ONE_CELL).exit_code == 1
    assert bench.store.records()[0].error_kind == "disk_full"


@pytest.mark.usefixtures("small_files")
def test_a_record_over_the_file_size_limit_leaves_no_half_of_it(tmp_path: Path) -> None:
    folder = Store(tmp_path).create({}, label="x", cell_key="k", attempt=1)
    with pytest.raises(StoreError, match="file size limit"):
        folder.write_record(record_of(folder, "x" * 2_000_000))
    assert folder.record is None
    assert sorted(path.name for path in folder.path.iterdir()) == ["cell.json"]
