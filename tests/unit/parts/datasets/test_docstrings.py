"""The dataset `docstrings`: harvested from installed packages."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kilowit.errors import DataError
from kilowit.parts import docstring_harvest
from kilowit.parts.cache import cache_folder
from kilowit.parts.datasets import docstrings
from kilowit.parts.docstring_harvest import (
    HarvestedPair,
    harvest,
    harvest_installed,
    packages_fingerprint,
)
from kilowit.parts.docstring_pair import docstring_pair

BODY = "The engine reads every cell of the table and converts it to a number, so that later steps can add them up."
SUMMARY = "Convert the cells of a table to numbers."


def test_the_summary_line_and_the_prose_below_it_are_the_pair() -> None:
    assert docstring_pair(f"{SUMMARY}\n\n    {BODY}\n    ") == (BODY, SUMMARY)


def test_markup_is_unwrapped_and_code_left_out() -> None:
    pair = docstring_pair(
        f"""Convert the ``cells`` of a :class:`~pandas.DataFrame` to numbers.

        {BODY} See :meth:`add` and `the guide <https://x.org>`_ for *more*.

        Args:
            table (`Table`, *optional*): The table whose cells are converted.
            strict: Whether a cell that is no number is an error.

        >>> convert(table)
        [1, 2]

        Returns:
            The converted table, as a new object.

        Examples:
            Nothing here is prose that the summary could sum up at all.

        .. versionadded:: 1.2
        """
    )
    assert pair is not None
    assert pair.summary == "Convert the cells of a DataFrame to numbers."
    assert pair.document == (
        f"{BODY} See add and the guide for more.\n"
        "table: The table whose cells are converted.\n"
        "strict: Whether a cell that is no number is an error.\n"
        "The converted table, as a new object."
    )


@pytest.mark.parametrize(
    "docstring",
    [
        SUMMARY,
        f"{SUMMARY}\n\nToo short to sum up.",
        f"Convert.\n\n{BODY}",
        f"convert the cells of a table to numbers\n\n{BODY}",
        f"convert_cells(table) -> list of numbers, one for each\n\n{BODY}",
        f"Quick brown foxes jump over lazy dogs.\n\n{BODY}",
        f"Arguments for the conversion of cells:\n\n{BODY}",
        f"{SUMMARY}\n\n" + "x = f(y) + g[z]; " * 20,
    ],
)
def test_what_is_no_summary_of_prose_is_no_pair(docstring: str) -> None:
    assert docstring_pair(docstring) is None


def package(folder: Path, name: str, num_functions: int) -> None:
    source = "\n".join(
        f'def f{i}():\n    """Return item {name} {i} of the table as numbers.\n\n    {BODY} Item {name} {i}.\n    """\n'
        for i in range(num_functions)
    )
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"raise SystemExit('imported')\n{source}")


def test_sources_are_parsed_not_run_and_repeats_and_tests_left_out(tmp_path: Path) -> None:
    package(tmp_path, "one", 3)
    package(tmp_path / "one", "tests", 2)
    (tmp_path / "copy.py").write_text((tmp_path / "one" / "__init__.py").read_text())
    (tmp_path / "broken.py").write_text(f'"""{SUMMARY}\n\n{BODY}\n{BODY}"""\ndef (:\n')
    (tmp_path / "latin.py").write_bytes(b'"""' + f"{SUMMARY}\n\n{BODY}".encode() + b' \xff\xfe"""\n')
    pairs = harvest([tmp_path])
    assert [pair.id for pair in pairs] == ["copy.py:00002", "copy.py:00008", "copy.py:00014"]
    assert {pair.package for pair in pairs} == {"copy"}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small set of packages in place of the real one, and a cache of its own."""
    root = tmp_path / "packages"
    for i in range(40):
        package(root, f"package{i:02d}", 1 + i % 3)
    package(root, "giant", 60)
    monkeypatch.setattr(docstring_harvest, "source_roots", lambda include_standard_library: [root])
    monkeypatch.setenv("KILOWIT_CACHE", str(tmp_path / "cache"))
    return root


def test_no_package_is_in_two_splits_and_all_splits_are_filled(installed: Path) -> None:
    corpus = docstrings.load(docstrings.Options())
    splits = (corpus.train, corpus.validation, corpus.test)
    packages = [{row_id.split("/")[0] for row_id in split.ids} for split in splits]
    assert not packages[0] & packages[1] and not packages[0] & packages[2] and not packages[1] & packages[2]
    assert "giant" in packages[0]
    total = sum(map(len, splits))
    assert len(corpus.validation) >= 0.05 * total and len(corpus.test) >= 0.05 * total


def test_the_cache_gives_the_same_pairs_without_the_sources(installed: Path) -> None:
    first = harvest_installed(include_standard_library=True)
    for source in installed.rglob("*.py"):
        source.unlink()
    assert harvest_installed(include_standard_library=True) == first


def test_fetching_harvests_once_and_then_leaves_the_cache_alone(installed: Path, tmp_path: Path) -> None:
    docstrings.fetch(docstrings.Options(include_standard_library=False))
    (cached,) = (tmp_path / "cache").iterdir()
    written = cached.stat().st_mtime_ns
    docstrings.fetch(docstrings.Options(include_standard_library=False))
    assert cached.stat().st_mtime_ns == written


def test_another_set_of_packages_is_another_fingerprint(installed: Path) -> None:
    before = packages_fingerprint([installed])
    (installed / "one-1.0.dist-info").mkdir()
    (installed / "one-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: one\nVersion: 1.0\n")
    after = packages_fingerprint([installed])
    assert before != after


def test_a_broken_cache_is_made_anew_and_an_unwritable_one_is_noted(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = harvest_installed(include_standard_library=True)
    [file] = cache_folder().iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert harvest_installed(include_standard_library=True) == first
    monkeypatch.setenv("KILOWIT_CACHE", "/proc/kilowit")  # no folder can be made there, not even by root
    corpus = docstrings.load(docstrings.Options())
    assert "could not be cached" in corpus.notes[0]


def test_processes_that_harvest_at_once_do_not_disturb_each_other(installed: Path) -> None:
    code = (
        "from pathlib import Path; from kilowit.parts import docstring_harvest as h\n"
        f"h.source_roots = lambda include_standard_library: [Path({str(installed)!r})]\n"
        "print(len(h.harvest_installed(include_standard_library=True).pairs))"
    )
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({child.communicate()[0] for child in children}) == 1
    assert len(list(cache_folder().iterdir())) == 1


def test_too_few_packages_are_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        docstrings.split_packages(Counter(torch=100, transformers=100))


def test_the_standard_library_alone_gives_hundreds_of_pairs() -> None:
    import email

    pairs = harvest([Path(email.__file__).parent])
    assert len(pairs) > 30
    assert all(isinstance(pair, HarvestedPair) and pair.summary[0].isupper() for pair in pairs)
