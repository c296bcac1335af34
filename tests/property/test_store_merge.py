"""Merging stores is a union: commutative, associative, idempotent, whatever is in them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.store import Store

# A store here: run number -> (how far its copy got: 1 ledger line, 2 lines, 3 with record; numbers of its edits)
contents = st.dictionaries(
    st.integers(0, 4), st.tuples(st.integers(1, 3), st.sets(st.integers(0, 2), max_size=2)), max_size=4
)
Contents = dict[int, tuple[int, set[int]]]


def build(root: Path, content: Contents) -> Store:
    for number, (progress, edits) in content.items():
        run_id = f"20261123T101530Z_lead_s0_000{number}"
        folder = root / run_id
        folder.mkdir(parents=True)
        (folder / "cell.json").write_text(json.dumps({"cell": {"n": number}, "cell_key": str(number)}))
        (folder / "ledger.jsonl").write_text("".join(f'{{"line": {i}}}\n' for i in range(min(progress, 2))))
        if progress == 3:
            (folder / "record.json").write_text(f'{{"run_id": "{run_id}"}}')
        if edits:
            lines = [
                json.dumps({"kind": "invalidate", "reason": "r", "who": "w", "at_utc": f"2026-11-23T10:00:0{i}Z"})
                for i in sorted(edits)
            ]
            (folder / "edits.jsonl").write_text("".join(f"{line}\n" for line in lines))
    root.mkdir(exist_ok=True)
    return Store(root)


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
