"""A summarizer is loaded from whatever holds one, and refuses what does not go together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kilowit
import worker_cells
from hub_stand_in import commit, hub_stand_in
from kilowit.errors import PartError, StoreError, StudyError
from kilowit.parts.runtime_support import require_packages, support_matrix
from kilowit.parts.text_codec import Manifest
from kilowit.serving.folder import export_folder
from kilowit.serving.source import find_source
from kilowit.settings import RuntimeSettings
from tiny_summarizer import tiny_corpus

DOCUMENTS = list(tiny_corpus().test.documents[:5])


def installed() -> list[str]:
    """The runtimes that run a BART here, but the one that compiles for a minute and is held to the same elsewhere."""

    def is_here(name: str) -> bool:
        try:
            require_packages(name)
        except PartError:
            return False
        return True

    found = [name for name, row in support_matrix().items() if "bart" in row.families and is_here(name)]
    return [name for name in found if name != "torch_compile"]


def test_summaries_come_in_the_order_of_the_documents(model_folder: Path) -> None:
    with kilowit.load_summarizer(model_folder, batch_size=2) as summarizer:
        together = summarizer.summarize(DOCUMENTS)
        alone = [summarizer.summarize([document])[0] for document in DOCUMENTS]
        assert summarizer.summarize([]) == []
    assert together == alone
    assert len(set(together)) > 1


def test_summaries_are_told_in_pieces_as_they_are_written(model_folder: Path) -> None:
    pieces: list[tuple[int, str]] = []
    with kilowit.load_summarizer(model_folder, num_beams=1) as summarizer:
        written = summarizer.write(DOCUMENTS, on_text=lambda place, piece: pieces.append((place, piece)))
        assert [w.text for w in written] == summarizer.summarize(DOCUMENTS)
    assert len(pieces) > len(DOCUMENTS)
    assert all(piece for _, piece in pieces)
    assert ["".join(piece for told, piece in pieces if told == place) for place in range(len(DOCUMENTS))] == [
        w.text for w in written
    ]


def test_options_of_the_call_go_before_those_of_the_model(model_folder: Path) -> None:
    with kilowit.load_summarizer(model_folder, num_beams=1, max_new_tokens=3, max_source_tokens=6) as summarizer:
        (written,) = summarizer.write(DOCUMENTS[:1])
        assert (summarizer.options.num_beams, summarizer.options.no_repeat_ngram_size) == (1, 0)
    assert len(written.tokens) <= 3
    assert written.num_input_tokens == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beam": 4}, 'no option "num_beam"\n  Did you mean "num_beams"?'),
        ({"num_beams": 0}, "num_beams  Input should be greater than or equal to 1"),
        ({"min_new_tokens": 9, "max_new_tokens": 3}, "min_new_tokens 9 is above max_new_tokens 3"),
        ({"runtime_": "torch"}, 'no option "runtime_"'),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, int], message: str, model_folder: Path) -> None:
    with pytest.raises(StudyError) as caught:
        kilowit.load_summarizer(model_folder, **options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_bill_counts_what_was_read_and_written(model_folder: Path) -> None:
    found = kilowit.summarize(DOCUMENTS, model_folder, batch_size=2)
    assert len(found.texts) == found.bill.num_summaries == 5
    assert found.bill.num_input_tokens > 5 and found.bill.num_output_tokens >= 5
    serving = found.bill.metered.phase("serve")
    assert serving is not None and serving.num_examples == 5
    assert found.bill.metered.phase("load") is not None


@pytest.mark.parametrize("runtime", installed())
def test_an_exported_folder_says_the_same_as_the_model(runtime: str, model_folder: Path, tmp_path: Path) -> None:
    with kilowit.load_summarizer(model_folder, runtime="torch") as summarizer:
        expected = summarizer.summarize(DOCUMENTS)
    export_folder(model_folder, tmp_path / "out", RuntimeSettings(name=runtime, precision="fp32"))
    assert Manifest.read(tmp_path / "out").runtime == runtime
    with kilowit.load_summarizer(tmp_path / "out") as summarizer:
        assert summarizer.summarize(DOCUMENTS) == expected


def test_an_exported_folder_keeps_to_its_runtime(model_folder: Path, tmp_path: Path) -> None:
    export_folder(model_folder, tmp_path / "out", RuntimeSettings(name="torch", precision="bf16"))
    for asked in ({"runtime": "torch_fast"}, {"precision": "fp32"}):
        with pytest.raises(PartError, match="was exported for torch bf16, not for"):
            kilowit.load_summarizer(tmp_path / "out", **asked)  # type: ignore[arg-type]
    with kilowit.load_summarizer(tmp_path / "out", runtime="torch", precision="bf16") as summarizer:
        assert summarizer.summarize(DOCUMENTS[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorflow"}, "is not available"),
        ({"runtime": "torch", "precision": "int8"}, 'has no precision "int8"'),
        ({"runtime": "tourch"}, 'no runtime "tourch"'),
        ({"device": "tpu"}, 'does not run on "tpu"'),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_way_out(
    options: dict[str, str], message: str, model_folder: Path
) -> None:
    with pytest.raises(PartError, match=message) as caught:
        kilowit.load_summarizer(model_folder, **options)  # type: ignore[arg-type]
    assert caught.value.hint


def test_an_id_of_the_hub_is_fetched_once_and_then_found_offline(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "hub" / "models/acme/tiny/main")
    code = "from kilowit.serving.source import find_source as f; s = f('acme/tiny'); print(s.folder, s.origin)"
    with hub_stand_in(tmp_path / "hub") as (endpoint, _):
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
        online, offline = (
            subprocess.run([sys.executable, "-c", code], env=environment | more, capture_output=True, text=True)
            for more in ({}, {"HF_HUB_OFFLINE": "1"})
        )
    folder, origin = online.stdout.split()
    assert origin == f"hub:acme/tiny@{commit('models', 'acme/tiny', 'main')}"
    assert offline.stdout == online.stdout
    assert (Path(folder) / "model.safetensors").is_file()


def test_a_run_is_asked_as_its_study_and_its_methods_say(model_folder: Path, tmp_path: Path) -> None:
    run = worker_cells.create(tmp_path, recipe="[ctranslate2_int8]")
    with pytest.raises(StoreError, match=r"kept no model: measure\.keep_model was false"):
        find_source(run.path)
    shutil.copytree(model_folder, run.model_path)
    source = find_source(run.path)
    assert source.runtime == RuntimeSettings(name="ctranslate2", precision="int8")
    assert (source.predict.num_beams, source.max_source_tokens) == (2, 40)
    assert source.origin == f"run:{run.run_id}"


def test_what_is_no_model_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="no such folder"):
        kilowit.load_summarizer("./nowhere")
    with pytest.raises(PartError, match=r"no config\.json in it"):
        kilowit.load_summarizer(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(PartError, match="is a file"):
        kilowit.load_summarizer(tmp_path / "file")
