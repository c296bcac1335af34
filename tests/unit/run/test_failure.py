"""From exceptions to kinds of failure."""

from __future__ import annotations

import errno

import pytest
import torch

from kilowit.errors import CellFailure, DataError, PartError, StoreError
from kilowit.run.failure import MAX_MESSAGE, Stopped, classify


def wrapped(outer: Exception, cause: BaseException) -> Exception:
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory_gpu"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "out_of_memory_gpu"),
        (MemoryError(), "out_of_memory_host"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out_of_memory_host"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory_host"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (wrapped(StoreError("disk is full"), OSError(errno.ENOSPC, "No space left")), "disk_full"),
        (CellFailure("divergence", "loss is nan"), "divergence"),
        (CellFailure("download_failed", "hub is away"), "download_failed"),
        (wrapped(RuntimeError("dataset failed"), CellFailure("download_failed", "away")), "download_failed"),
        (DataError("column missing"), "data"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "data"),
        (KeyboardInterrupt(), "interrupted"),
        (Stopped("timeout", "too long"), "timeout"),
        (PartError("no tokenizer"), "error"),
        (ZeroDivisionError("division by zero"), "error"),
    ],
)
def test_every_exception_has_its_kind(error: BaseException, kind: str) -> None:
    assert classify(error).kind == kind


def test_message_names_the_exception_unless_it_is_ours() -> None:
    assert classify(ZeroDivisionError("division by zero")).message == "ZeroDivisionError: division by zero"
    assert classify(DataError("empty", hint="Fill it.")).message == "empty\n  Fill it."
    assert len(classify(RuntimeError("x" * 9999)).message) == MAX_MESSAGE


def test_error_raised_while_handling_another_is_looked_through_and_a_suppressed_one_is_not() -> None:
    def fail(*, suppress: bool) -> BaseException:
        try:
            try:
                raise MemoryError
            except MemoryError:
                if suppress:
                    raise ValueError("b") from None
                raise ValueError("b")  # noqa: B904
        except ValueError as error:
            return error

    assert classify(fail(suppress=False)).kind == "out_of_memory_host"
    assert classify(fail(suppress=True)).kind == "error"
