"""Which runs belong together: the seeds of one condition, the trials and winners of one search. They get a parent."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kilowit.cell import model_name

_BESIDE_THE_POINT = frozenset({"seed", "search", "content", "metric_signatures"})


@dataclass(frozen=True)
class Group:
    """Runs with one parent; `key` is the same wherever and whenever it is computed."""

    key: str
    name: str
    is_search: bool


def group_of(cell: Mapping[str, Any]) -> Group:
    """Return the group of a cell as cell.json has it: its search, else all seeds of its condition."""
    search = cell.get("search")
    model = ((search or {}).get("template") or cell)["model"]
    words = [model_name(model), cell["dataset"]["name"], cell["recipe"]]
    if search:
        words += [str(search.get("algorithm", "search")), f"s{search['seed']}"]
        return Group(str(search["search_key"]), "_".join(word for word in words if word), is_search=True)
    meaning = {name: value for name, value in cell.items() if name not in _BESIDE_THE_POINT}
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
    return Group(digest, "_".join(word for word in words if word), is_search=False)


def needs_parent(cells: Iterable[Mapping[str, Any]]) -> dict[str, Group]:
    """Return, by key, the groups of these cells that a parent says more of than their runs alone."""
    groups: dict[str, Group] = {}
    seeds: dict[str, set[int]] = defaultdict(set)
    for cell in cells:
        group = group_of(cell)
        groups[group.key] = group
        seeds[group.key].add(int(cell["seed"]))
    return {key: group for key, group in groups.items() if group.is_search or len(seeds[key]) > 1}
