"""The five published datasets: through the hub's own protocol against a stand-in, from its cache, and from a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_stand_in import commit, hub_stand_in
from kilowit import parts
from kilowit.errors import DataError, PartError

pytest.importorskip("datasets")
SIZES = {"train": 20, "validation": 4, "test": 5}
CONVERTED = "refs@convert@parquet"

CHILD = """
import json, sys
from kilowit import parts
from kilowit.errors import KilowitError
answers = []
for name, options in json.loads(sys.argv[1]):
    module = parts.load("datasets", name)
    try:
        module.fetch(module.Options(**options))
        corpus = module.load(module.Options(**options))
        splits = (corpus.train, corpus.validation, corpus.test)
        answers.append({"sizes": [len(split) for split in splits], "ids": [list(split.ids) for split in splits],
                        "source": corpus.source, "version": corpus.version, "revision": corpus.revision,
                        "notes": corpus.notes, "fingerprint": corpus.fingerprint,
                        "first": [corpus.train.documents[0], corpus.train.summaries[0]]})
    except KilowitError as error:
        answers.append({"error": type(error).__name__, "kind": getattr(error, "kind", None), "message": str(error)})
print(json.dumps(answers))
"""
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("xsum", {}),
    ("samsum", {"max_train_examples": 5}),
    ("reddit_tifu", {}),
    ("reddit_tifu", {"variant": "short"}),
    ("cnn_dailymail", {}),
    ("big_patent", {"code": "a"}),
    ("big_patent", {"code": "b"}),
]


def put_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def lay_out_hub(root: Path) -> None:
    """Write what the hub has of each dataset, in little."""
    xsum = root / "datasets/EdinburghNLP/xsum"
    (xsum / "main").mkdir(parents=True)
    (xsum / "main" / "xsum.py").write_text("raise SystemExit('a script ran')")
    samsum = root / "datasets/knkarthick/samsum/main"
    samsum.mkdir(parents=True)
    patents = root / "datasets/NortheasternUniversity/big_patent" / CONVERTED / "a"
    news = root / "datasets/abisee/cnn_dailymail/main/3.0.0"
    for split, n in SIZES.items():
        rows = [{"document": f"doc {i}", "summary": f"sum {i}", "id": f"{split}{i}"} for i in range(n)]
        put_parquet(xsum / CONVERTED / "default" / split / "0000.parquet", rows)
        lines = "".join(f'{i},"{"" if i == 3 else f"A: hi{chr(10)}B: yo {i}"}",sum {i}\n' for i in range(n))
        (samsum / f"{split}.csv").write_text(f"id,dialogue,summary\n{lines}")
        patent_rows = [{"description": f"doc {i}", "abstract": f"sum {i}"} for i in range(n)]
        put_parquet(patents / f"{'partial-' if split == 'train' else ''}{split}" / "0000.parquet", patent_rows)
        half = [{"article": f"doc {i}", "highlights": f"a {i}\nb", "id": f"{split}{i}"} for i in range(n)]
        put_parquet(news / f"{split}-00000-of-00002.parquet", half[: n // 2])
        put_parquet(news / f"{split}-00001-of-00002.parquet", half[n // 2 :])
    posts = [{"documents": f"post {i % 190}", "tldr": f"t {i}", "title": f"title {i}"} for i in range(200)]
    for variant in ("long", "short"):
        put_parquet(root / "datasets/ctr4si/reddit_tifu" / CONVERTED / variant / "train" / "0000.parquet", posts)


def ask(home: Path, endpoint: str, asked: list[tuple[str, dict[str, Any]]], **environment: str) -> list[dict[str, Any]]:
    """Load datasets in a process of its own: the hub's client reads its environment once, when imported."""
    variables = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    variables = {**variables, "HF_HUB_OFFLINE": "0", **environment}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(asked)], env=variables, capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    answers: list[dict[str, Any]] = json.loads(child.stdout)
    return answers


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, list[dict[str, Any]]]]:
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    lay_out_hub(root)
    with hub_stand_in(root) as (endpoint, _):
        answers = ask(home, endpoint, ASKED)
    yield home, endpoint, answers


def test_each_dataset_is_fetched_from_where_its_files_are(served: tuple[Path, str, list[dict[str, Any]]]) -> None:
    xsum, samsum, _, _, news, patents, _ = served[2]
    assert [answer["sizes"] for answer in (xsum, news, patents)] == [[20, 4, 5]] * 3
    assert samsum["sizes"] == [5, 3, 4]  # one empty dialogue in each of the last two splits
    assert xsum["source"] == f"hub:EdinburghNLP/xsum@{commit('datasets', 'EdinburghNLP/xsum', CONVERTED)}"
    assert samsum["source"] == f"hub:knkarthick/samsum@{commit('datasets', 'knkarthick/samsum', 'main')}"
    assert all(answer["source"].endswith("@" + answer["revision"]) for answer in served[2][:6])
    assert [answer["version"] for answer in served[2][:6]] == [None, None, "long", "short", "3.0.0", "lower case"]
    assert news["first"] == ["doc 0", "a 0\nb"]
    assert patents["ids"][2] == ["test-0", "test-1", "test-2", "test-3", "test-4"]
    assert "train has 20 rows, 204,045 are published" in xsum["notes"]


def test_reddit_is_split_by_the_hash_of_the_post(served: tuple[Path, str, list[dict[str, Any]]]) -> None:
    long, short = served[2][2:4]
    assert sum(long["sizes"]) == 190  # ten posts occur twice
    assert "10 of the train rows left out: their id or document occurs twice" in long["notes"]
    assert long["ids"] == short["ids"]
    assert 5 < long["sizes"][1] < 35 and 5 < long["sizes"][2] < 35  # 19 +- 3.3 standard deviations
    assert (long["first"][1], short["first"][1]) == ("t 0", "title 0")


def test_a_class_of_patents_without_files_is_a_part_error(served: tuple[Path, str, list[dict[str, Any]]]) -> None:
    assert served[2][6]["error"] == "PartError"
    assert "no train files" in served[2][6]["message"]


def test_the_cache_serves_offline_and_what_it_lacks_is_a_failed_download(
    served: tuple[Path, str, list[dict[str, Any]]],
) -> None:
    home, endpoint, online = served
    offline = ask(home, endpoint, ASKED, HF_HUB_OFFLINE="1")
    assert offline[:6] == online[:6]
    assert (offline[6]["error"], offline[6]["kind"]) == ("CellFailure", "download_failed")


@pytest.mark.parametrize("name", ["xsum", "samsum", "cnn_dailymail", "reddit_tifu", "big_patent"])
def test_a_folder_with_the_same_files_takes_the_place_of_the_hub(tmp_path: Path, name: str) -> None:
    lay_out_hub(tmp_path)
    module = parts.load("datasets", name)
    options = {"code": "a"} if name == "big_patent" else {}
    [folder] = (tmp_path / "datasets").glob(f"*/{name}")
    revisions = sorted(folder.iterdir())
    module.fetch(module.Options(path=str(revisions[-1]), **options))  # asks nothing of the network
    corpus = module.load(module.Options(path=str(revisions[-1]), **options))
    total = len(corpus.train) + len(corpus.validation) + len(corpus.test)
    assert total == {"samsum": 26, "reddit_tifu": 190}.get(name, 29)
    assert corpus.source == "folder"
    assert corpus.licence and corpus.revision is None


def test_the_version_of_patents_is_told_by_their_letters() -> None:
    version_of = parts.load("datasets", "big_patent").version_of
    assert version_of(["a method of wetting pipes ."] * 200) == "lower case"
    assert version_of(["a method of wetting pipes .", "The device of claim 1"]) == "cased"
    assert version_of(["a method"] * 100 + ["The device"]) == "lower case"  # the first hundred tell


def test_a_folder_without_a_split_or_a_column_is_a_data_error(tmp_path: Path) -> None:
    module = parts.load("datasets", "samsum")
    with pytest.raises(DataError, match="no such folder"):
        module.load(module.Options(path=str(tmp_path / "none")))
    (tmp_path / "train.csv").write_text("id,dialog,summary\n1,a,b\n")
    with pytest.raises(DataError, match='no column "dialogue"'):
        module.load(module.Options(path=str(tmp_path)))
    (tmp_path / "train.csv").write_text("id,dialogue,summary\n1,a,b\n")
    with pytest.raises(DataError, match=r"no validation split \(found train\)"):
        module.load(module.Options(path=str(tmp_path)))
    with pytest.raises(PartError, match="exclude each other"):
        module.load(module.Options(path=str(tmp_path), revision="main"))
