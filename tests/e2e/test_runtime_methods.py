"""Methods that hand the trained model to a smaller runtime, through the real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

import worker_cells
from kilowit.errors import PartError
from kilowit.parts.method import MethodCall, plan_settings
from kilowit.settings import Settings

pytest.importorskip("torch")


def test_the_small_model_predicts_and_its_export_is_on_the_bill(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    record = worker_cells.run(tmp_path, recipe="[{int8_static: {num_documents: 8}}]")
    assert record.status == "finished", record.error_message
    (evidence,) = record.methods
    assert evidence.applied
    numbers = evidence.evidence
    assert numbers["num_calibration_documents"] == 8
    assert 0.2 < numbers["weights_fraction"] < 0.6
    assert 10e6 < numbers["process_peak_memory_byte"] < 400e6
    names = [phase.phase for phase in record.phases]
    assert names.index("train") < names.index("compress") < names.index("predict")
    compress = record.phase("compress")
    assert compress is not None and compress.energy_total_joule is not None
    assert record.model is not None
    assert record.model.model_disk_byte == numbers["weights_byte_after"]
    assert record.model.dtype is not None and record.model.dtype.startswith("int8")


def test_an_export_that_did_not_shrink_fails_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("kilowit.parts.runtime_method.LARGEST_SHARE", 0.01)
    record = worker_cells.run(tmp_path, recipe="[int8_dynamic]")
    assert (record.error_kind, record.error_phase) == ("method_not_applied", "compress")


@pytest.mark.parametrize(
    ("calls", "family", "said"),
    [
        (("int8_dynamic", "fp16_export"), "bart", "conflicts with"),
        (("ctranslate2_int8", "prune"), "bart", "conflicts with"),
        (("int8_dynamic",), "led", "does not work with led"),
        (("ctranslate2_int8",), "bigbird_pegasus", "does not work with bigbird_pegasus"),
    ],
)
def test_what_does_not_go_together_is_refused_at_plan_time(calls: tuple[str, ...], family: str, said: str) -> None:
    with pytest.raises(PartError, match=said):
        plan_settings(Settings(), tuple(map(MethodCall, calls)), family)


def test_a_study_that_names_its_runtime_too_is_refused() -> None:
    settings = Settings().with_predict(runtime="torch_fast")
    with pytest.raises(PartError, match="both say what predicts"):
        plan_settings(settings, (MethodCall("int8_dynamic"),), "bart")
