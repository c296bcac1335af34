"""A cell over several nodes that see its run folder: the first node keeps the books, the others meter themselves.

On each of the others the leader of its ranks meters the node, once, into ``nodes/<number>`` of the run folder, until
the first node has finished: a node that waits is still taken. The record adds the nodes up, and keeps them apart
beside the sum.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilowit.errors import ExecutorError, StoreError
from kilowit.meter import read_ledger
from kilowit.meter.ledger import LEDGER_NAME
from kilowit.parts.executor import NODE_VARIABLE, NUM_NODES_VARIABLE, RENDEZVOUS_VARIABLE
from kilowit.record import DEVICES, NodeFigures, PhaseFigures
from kilowit.store import RunFolder

FOLDER_NAME: Final = "nodes"  # in the run folder: a folder by number for each node but the first
WORDS_NAME: Final = ".ranks"  # in the run folder: where ranks of several nodes leave word
OVER_NAME: Final = "over"  # among the words: the first node has finished
END_SECOND: Final = 20.0  # that the first node waits for the others to close their ledgers
SILENCE_SECOND: Final = 120.0  # of the first node's ledger, after which the others take it to be gone
LOOK_SECOND: Final = 0.1
_SUMS: Final = (
    *(f"energy_{device}_joule{end}" for device in (*DEVICES, "total") for end in ("", "_low", "_high")),
    "energy_idle_joule", "power_gpu_mean_watt", "power_gpu_max_watt", "disk_read_byte", "disk_written_byte",
    "network_received_byte", "network_sent_byte",
)  # fmt: skip
_MAXIMA: Final = ("memory_gpu_max_byte", "memory_host_max_byte")
_MEANS: Final = ("utilization_gpu_mean_fraction", "utilization_cpu_mean_fraction")


@dataclass(frozen=True)
class Node:
    """Which node of a cell this is, as its executor said."""

    number: int = 0
    num_nodes: int = 1
    rendezvous: str = ""  # host:port of the first


FIRST_NODE: Final = Node()


def this_node(environment: Mapping[str, str] = os.environ) -> Node:
    """Return which node this is.

    Raises:
        ExecutorError: what the executor said makes no sense.
    """
    num_nodes = environment.get(NUM_NODES_VARIABLE, "1")
    if num_nodes == "1":
        return FIRST_NODE
    number, rendezvous = environment.get(NODE_VARIABLE, ""), environment.get(RENDEZVOUS_VARIABLE, "")
    is_clear = num_nodes.isdigit() and number.isdigit() and int(number) < int(num_nodes)
    if not is_clear or not rendezvous.rpartition(":")[2].isdigit():
        raise ExecutorError(
            f"node {number or '?'} of {num_nodes} at {rendezvous or '?'} is no node of a cell",
            hint=f"Set {NUM_NODES_VARIABLE}, {NODE_VARIABLE} (from 0) and {RENDEZVOUS_VARIABLE} (host:port of node 0).",
        )
    return Node(int(number), int(num_nodes), rendezvous)


def folder_of(folder: RunFolder, node: int) -> Path:
    """Return where a node other than the first keeps its ledger."""
    return folder.path / FOLDER_NAME / str(node)


def end_nodes(folder: RunFolder, words: Path, num_nodes: int) -> None:
    """Tell the other nodes that the cell is over, and wait for their ledgers to be closed; not for one that is gone."""
    (words / OVER_NAME).touch()
    end_second = time.monotonic() + END_SECOND
    waiting = {folder_of(folder, node) for node in range(1, num_nodes)}
    while waiting and time.monotonic() < end_second:
        waiting = {path for path in waiting if (path / LEDGER_NAME).exists() and not read_ledger(path).clean}
        time.sleep(LOOK_SECOND)


def wait_for_end(folder: RunFolder, words: Path) -> None:
    """Wait until the first node has finished, or has been silent for so long that it must be gone."""
    while not (words / OVER_NAME).exists():
        silent_second = time.time() - folder.ledger_path.stat().st_mtime if folder.ledger_path.exists() else 0.0
        if folder.record_path.exists() or silent_second > SILENCE_SECOND:
            return
        time.sleep(LOOK_SECOND)


def other_nodes(folder: RunFolder) -> list[NodeFigures]:
    """Return what the nodes other than the first metered; what one that is gone wrote until then counts."""
    found = []
    for path in sorted((folder.path / FOLDER_NAME).glob("*"), key=lambda path: int(path.name)):
        try:
            metered = read_ledger(path)
            text = (path / "environment.json").read_text(encoding="utf-8")
        except (StoreError, OSError):
            continue  # it had not begun
        host = (json.loads(text).get("executor") or {}).get("host")
        found.append(
            NodeFigures(
                node=int(path.name), host=host, phases=list(metered.phases), measurement_signature=metered.signature
            )
        )
    return found


def with_nodes(
    phases: Iterable[PhaseFigures], environment: Mapping[str, Any], signature: str, others: Sequence[NodeFigures]
) -> tuple[list[PhaseFigures], list[NodeFigures]]:
    """Add other nodes to the figures of the first; return the sums and the nodes, which are none where it is alone."""
    own = list(phases)
    if not others:
        return own, []
    first = NodeFigures(
        node=0, host=(environment.get("executor") or {}).get("host"), phases=own, measurement_signature=signature
    )
    names = list(dict.fromkeys([*(p.phase for p in own), *(p.phase for node in others for p in node.phases)]))
    nodes = [first, *others]
    return [_sum([p for node in nodes for p in node.phases if p.phase == name]) for name in names], nodes


def _sum(rows: Sequence[PhaseFigures]) -> PhaseFigures:
    """Add up one phase over the nodes that had it. Time is that of the first row: nodes work side by side."""
    changes: dict[str, Any] = {}
    for names, combine in ((_SUMS, math.fsum), (_MAXIMA, max), (_MEANS, _mean)):
        for name in names:
            known = [value for row in rows if (value := getattr(row, name)) is not None]
            if known:
                total = combine(known)
                changes[name] = int(total) if name.endswith("_byte") else total
    for device in (*DEVICES, "total"):
        name = f"energy_{device}_source"
        sources = list(dict.fromkeys(source for row in rows if not (source := getattr(row, name)).startswith("none:")))
        changes[name] = "+".join(sources) or getattr(rows[0], name)
    weights = [(row.energy_total_joule or 0.0, row.energy_measured_fraction or 0.0) for row in rows]
    if total_joule := math.fsum(joule for joule, _ in weights):
        changes["energy_measured_fraction"] = math.fsum(joule * share for joule, share in weights) / total_joule
    return dataclasses.replace(rows[0], **changes)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
