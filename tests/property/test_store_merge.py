"""Merging stores is a union: commutative, associative, idempotent, whatever is in them."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.record import PhaseFigures, Record, Score
from kilowit.store import Store
from kilowit.store.query import COLUMNS

# A store here: run number -> (how far its copy got: 1 ledger line, 2 lines, 3 with record; numbers of its edits)
contents = st.dictionaries(
    st.integers(0, 4), st.tuples(st.integers(1, 3), st.sets(st.integers(0, 2), max_size=2)), max_size=4
)
Contents = dict[int, tuple[int, set[int]]]


def record(run_id: str, number: int) -> Record:
    return Record(
        run_id=run_id, cell_key=str(number), study_name="green", attempt=1, status="finished",
        started_at_utc="2026-11-23T10:15:30Z", ended_at_utc="2026-11-23T10:16:30Z", cell={"n": number}, environment={},
        phases=[PhaseFigures(phase="train", wall_second=number + 0.1, energy_total_joule=number / 3)],
        scores=[Score(metric="rouge2", value=number / 7, ci95_low=None, ci95_high=None, num_examples=5, signature="s")],
    )  # fmt: skip


def build(root: Path, content: Contents) -> Store:
    for number, (progress, edits) in content.items():
        run_id = f"20261123T101530Z_lead_s0_000{number}"
        folder = root / run_id
        folder.mkdir(parents=True)
        (folder / "cell.json").write_text(json.dumps({"cell": {"n": number}, "cell_key": str(number)}))
        (folder / "ledger.jsonl").write_text("".join(f'{{"line": {i}}}\n' for i in range(min(progress, 2))))
        if progress == 3:
            (folder / "record.json").write_text(record(run_id, number).to_json())
        if edits:
            lines = [
                json.dumps({"kind": "invalidate", "reason": "r", "who": "w", "at_utc": f"2026-11-23T10:00:0{i}Z"})
                for i in sorted(edits)
            ]
            (folder / "edits.jsonl").write_text("".join(f"{line}\n" for line in lines))
    root.mkdir(exist_ok=True)
    return Store(root)


def index(store: Store) -> bytes:
    """All that `kilowit query` and `kilowit status` see."""
    tables = [store.query(f"select * from {table}") for table in COLUMNS]
    return repr((tables, store.status(), store.problems)).encode()


def files(store: Store) -> dict[str, bytes]:
    return {str(path.relative_to(store.path)): path.read_bytes() for path in store.path.rglob("*") if path.is_file()}


@settings(max_examples=40, deadline=None)
@given(contents, contents, contents)
def test_merge_is_commutative_associative_and_idempotent(a: Contents, b: Contents, c: Contents) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)

        def store(where: str, content: Contents) -> Store:
            return build(root / where, content)

        ab, ba = store("ab", a), store("ba", b)
        ab.merge(store("b", b).path)
        ba.merge(store("a", a).path)
        assert files(ab) == files(ba)

        once = files(ab)
        assert ab.merge(ba.path) == 0
        assert files(ab) == once

        ab.merge(store("c", c).path)
        bc = store("bc", b)
        bc.merge(root / "c")
        a_bc = store("a_bc", a)
        a_bc.merge(bc.path)
        assert files(ab) == files(a_bc)


@settings(max_examples=15, deadline=None)
@given(contents, contents, contents)
def test_three_stores_merged_in_any_order_have_the_same_files_and_index_byte_by_byte(
    a: Contents, b: Contents, c: Contents
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        sources = [build(root / where, content) for where, content in zip("abc", (a, b, c), strict=True)]
        seen = set()
        for number, order in enumerate(itertools.permutations(sources)):
            merged = Store(root / f"merged{number}")
            for source in order:
                merged.merge(source.path)
            seen.add((tuple(sorted(files(merged).items())), index(merged)))
        assert len(seen) == 1
