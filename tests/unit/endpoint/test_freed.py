"""Freed memory goes back to the system although blocks above it live on."""

from __future__ import annotations

import ctypes
import platform

import psutil
import pytest

from kilowit.endpoint.freed import give_back_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose heap keeps what is freed")
BLOCK_BYTE, NUM_BLOCKS = 32 * 1024, 2000  # below what glibc maps by itself


def test_pages_between_blocks_in_use_are_given_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK_BYTE) for _ in range(NUM_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTE)
    process, last = psutil.Process(), blocks.pop()
    for block in blocks:
        libc.free(block)
    kept_byte = process.memory_info().rss
    assert give_back_freed_memory()
    assert kept_byte - process.memory_info().rss > 0.8 * BLOCK_BYTE * NUM_BLOCKS
    libc.free(last)
