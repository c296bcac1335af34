"""Build src/kilowit/report/published.csv, the scores that papers and model cards print, from a folder of facts.

    python tools/build_papers.py ../shared/facts [OUTPUT_FILE]

Deterministic, standard library alone; a test compares with a fresh build. A row keeps what was read in the text that
it names or in a copy of its table; figures from memory are left out, and rows that have no other. "RL" of a paper goes
to the column of the variant that it is: rougeL, rougeLsum, or both where the references have one line (XSum,
Gigaword).
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

Row = dict[str, str]
OUTPUT = Path(__file__).parent.parent / "src" / "kilowit" / "report" / "published.csv"
COLUMNS = (
    "model", "checkpoint", "dataset", "dataset_version", "rouge1", "rouge2", "rougeL", "rougeLsum", "stemmer",
    "read_in", "source", "note",
)  # fmt: skip

READ_IN = {"read": "the source", "secondary": "a copy of its table"}
MEMORY = "memory"  # not re-read: not shipped
# Reddit-TIFU and Gigaword name a variant in brackets.
VARIANT = re.compile(r"(?P<name>[\w]+) \((?P<version>.+)\)")
BOTH = re.compile(r"rougeL \(rougeLsum (?P<lsum>[\d.]+)\)")
# BigPatent has two versions. The facts say so of one row only ("mixed figure not comparable: newer BigPatent keeps
# case"), so that row is cased. That the other rows of that table are lower case, and that Big Bird, which reprints the
# R1 and R2 of the cased row, used the cased one for its whole table, is our inference: no source states it.
BIG_PATENT_CASED = ("mixed", "recomputed by BigBird", "re-evaluated by BigBird", "encoder 3072")
# Stemming by source, from the table "which variant do papers use" of the facts' notes (partly recalled there). Sources
# that it does not name are "not stated".
UNSTEMMED = ("T5 (Raffel 2020",)
STEMMED = (
    "google-research/pegasus", "PEGASUS (Zhang", "Big Bird", "BART (Lewis", "microsoft/ProphetNet",
    "microsoft/unilm unilm", "BRIO", "yixinL7/BRIO", "MoCa", "huggingface.co/sshleifer", "Longformer",
    "google-research/longt5", "LongT5", "PEGASUS-X", "linydub", "huggingface.co/philschmid",
)  # fmt: skip
# What a reader needs, in words that stand alone.
NOTES = {
    "mixed figure not comparable: newer BigPatent keeps case and other format changes": "",
    "mixed figure not comparable: tokenizer now encodes newline": "tokenizer of this row encodes newlines",
    "reproduced bit for bit here from the stored predictions": "bootstrap median, seed 322",
}


def main(arguments: list[str]) -> int:
    """Write the table and print its size."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    output = Path(arguments[1]) if len(arguments) == 2 else OUTPUT
    rows = build(Path(arguments[0]), output)
    print(f"{len(rows)} rows  {output.stat().st_size} byte  {output.name}")
    return 0


def _sources(rows: list[Row]) -> list[Row]:
    """Write out the source of rows that say "same": the leaderboard named before them."""
    leaderboard = next(row["source"] for row in rows if "leaderboard copy (" in row["source"])
    for row in rows:
        if row["source"].startswith("same"):
            own = row["source"].partition("(")[2].rstrip(")")
            row["source"] = leaderboard + (f"; {own}" if own else "")
    return rows


def build(facts: Path, output: Path) -> list[Row]:
    """Write the table from the facts folder; return its rows."""
    with (facts / "paper_results.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for raw in _sources(list(csv.DictReader(file))) if (row := published(raw)) is not None]
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def published(raw: Row) -> Row | None:
    """Return one row as it is shipped, or None if nothing of it was read."""
    scores = _scores(raw)
    verified = raw["verified"]
    if verified == MEMORY or not any(scores.values()):
        return None
    dataset, version = _dataset(raw)
    how = next(READ_IN[word] for word in re.findall(r"\w+", verified) if word in READ_IN)
    return {
        "model": raw["model"],
        "checkpoint": raw["checkpoint"].replace("seed repo run", "linydub run"),
        "dataset": dataset,
        "dataset_version": version,
        **scores,
        "stemmer": _stemmer(raw["source"]),
        "read_in": how,
        "source": raw["source"],
        "note": NOTES.get(raw["notes"], raw["notes"]),
    }


def _stemmer(source: str) -> str:
    if source.startswith(UNSTEMMED):
        return "no"
    return "porter" if source.startswith(STEMMED) else "not stated"


def _scores(raw: Row) -> dict[str, str]:
    scores = {"rouge1": raw["R1"], "rouge2": raw["R2"], "rougeL": "", "rougeLsum": ""}
    variant = raw["rouge_l_variant"]
    if both := BOTH.fullmatch(variant):
        scores |= {"rougeL": raw["RL"], "rougeLsum": both["lsum"]}
    elif variant.startswith("rougeL (equals"):
        scores |= {"rougeL": raw["RL"], "rougeLsum": raw["RL"]}
    elif variant in ("rougeL", "rougeLsum"):
        scores[variant] = raw["RL"]
    if MEMORY in raw["verified"]:  # "R1 read; R2, RL memory"
        scores |= {"rouge2": "", "rougeL": "", "rougeLsum": ""}
    return scores


def _dataset(raw: Row) -> tuple[str, str]:
    found = VARIANT.fullmatch(raw["dataset"])
    if found:
        return found["name"], found["version"]
    if raw["dataset"] != "big_patent":
        return raw["dataset"], ""
    if any(word in raw["checkpoint"] for word in BIG_PATENT_CASED):
        return "big_patent", "cased"
    if raw["model"].startswith(("PEGASUS-large", "PEGASUS-base", "Transformer-base")):
        return "big_patent", "lower case"
    return "big_patent", "not stated" if "BigBird" not in raw["model"] else "cased"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
