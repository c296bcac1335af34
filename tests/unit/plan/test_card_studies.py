"""The studies that measure the cards, and those of a trained model: each can be planned as it is, within its time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kilowit.plan import plan_study
from kilowit.store import Store
from kilowit.study import Study

STUDIES = Path(__file__).resolve().parents[3] / "studies"
CARDS = sorted((STUDIES / "cards").glob("*.yaml"))
TRAINED = sorted((STUDIES / "trained").glob("*.yaml"))
MOST_SECOND = 240.0  # likely, by `kilowit plan`


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studies beside the data that `make gpu-data` copies."""
    shared = CARDS[0].parents[3] / "shared" / "data"
    if not shared.is_dir():
        pytest.skip("needs the folder `shared` (corpora, tokenizers) beside the checkout")
    root = tmp_path_factory.mktemp("studies")
    (root / "data" / "tokenizers").mkdir(parents=True)
    for name in ("samsum", "qmsum"):
        (root / "data" / name).symlink_to(shared / "corpora" / name)
    (root / "data" / "tokenizers" / "bart").symlink_to(shared / "tokenizers" / "bart")
    shutil.copytree(STUDIES / "trained", root / "trained")  # no link: paths are resolved from where a study lies
    return shutil.copytree(STUDIES / "cards", root / "cards")


@pytest.mark.parametrize("name", [path.name for path in CARDS])
def test_the_study_of_a_card_is_planned_within_four_minutes_of_an_h100(name: str, folder: Path, tmp_path: Path) -> None:
    study = Study.load(folder / name)
    assert study.name == f"card-{name.removesuffix('.yaml')}"
    assert {cell.seed for cell in study.cells} == {0, 1, 2}
    assert all(cell.settings.measure.order == "shuffled" for cell in study.cells)
    plan = plan_study(study, Store(tmp_path), gpu="H100 SXM5 80GB")
    assert plan.total.time_second is not None
    assert plan.total.time_second.likely <= MOST_SECOND
    assert all(cell.fits == "yes" for cell in plan.cells)


@pytest.mark.parametrize("name", [path.name for path in TRAINED])
def test_the_study_of_a_trained_model_is_planned_within_forty_minutes_of_two_processors(
    name: str, folder: Path, tmp_path: Path
) -> None:
    study = Study.load(folder.parent / "trained" / name, ["models=[{scratch: bart-mini}]"])
    assert study.name == f"trained-{name.removesuffix('.yaml')}"
    assert {cell.seed for cell in study.cells} == {0, 1, 2}
    plan = plan_study(study, Store(tmp_path))
    assert plan.total.time_second is not None
    assert plan.total.time_second.likely <= MOST_SECOND * 10
