"""The studies that measure the cards: each can be checked and planned as it is, and fits a few minutes of one H100."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kilowit.plan import plan_study
from kilowit.store import Store
from kilowit.study import Study

CARDS = sorted((Path(__file__).resolve().parents[3] / "studies" / "cards").glob("*.yaml"))
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
    return shutil.copytree(CARDS[0].parent, root / "cards")  # no link: paths are resolved from where a study lies


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
