"""A store of the test's own, and stand-in workers for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_bench import Bench

from kilowit.store import Store


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "runs"))
