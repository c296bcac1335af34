"""Grade summaries with AlignScore, for kilowit's metric `judge`. Runs under AlignScore's own Python, not kilowit's.

    judges/alignscore/bin/python alignscore_judge.py --checkpoint AlignScore-base.ckpt < rows.jsonl > answers.jsonl

Reads {"id", "prediction", "source"} a line, writes {"id", "scores": {"consistency"}} a line. docs/how-to/judge.md says
how to make the environment. Source: github.com/yuh-zha/AlignScore, README.
"""

import argparse
import contextlib
import json
import sys


def main():
    """Read all rows, grade those that have a summary, answer every one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="file AlignScore-base.ckpt or AlignScore-large.ckpt")
    parser.add_argument("--model", default="roberta-base", help="roberta-base or roberta-large, as the checkpoint")
    parser.add_argument("--device", default=None, help="cuda:0 or cpu; what is there, if left out")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()

    rows = [json.loads(line) for line in sys.stdin if line.strip()]
    graded = [row for row in rows if row["prediction"].strip() and row["source"].strip()]
    with contextlib.redirect_stdout(sys.stderr):  # libraries print; standard output is for answers alone
        values = grade(options, [row["source"] for row in graded], [row["prediction"] for row in graded])
    found = {row["id"]: float(value) for row, value in zip(graded, values)}  # noqa: B905 - runs on Python 3.9 too
    for row in rows:
        print(json.dumps({"id": row["id"], "scores": {"consistency": found.get(row["id"], 0.0)}}))


def grade(options, sources, summaries):
    """Return how far each source supports its summary, from 0 to 1."""
    if not summaries:
        return []
    import torch
    from alignscore import AlignScore

    scorer = AlignScore(
        model=options.model,
        batch_size=options.batch_size,
        device=options.device or ("cuda:0" if torch.cuda.is_available() else "cpu"),
        ckpt_path=options.checkpoint,
        evaluation_mode="nli_sp",
    )
    return scorer.score(contexts=sources, claims=summaries)


if __name__ == "__main__":
    main()
