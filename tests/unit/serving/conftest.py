"""One tiny model for all tests of serving; nobody may write into its folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BART of two layers with random weights, and its tokenizer."""
    pytest.importorskip("torch")
    from tiny_summarizer import write_model

    return write_model(tmp_path_factory.mktemp("summarizer") / "bart-tiny")
