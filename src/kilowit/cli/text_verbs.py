"""The verbs that look at texts: `evaluate`, `metrics judge` and `dataset`, as `kilowit.cli` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilowit.cli.options import AsJson, Overrides


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="jsonl or csv: prediction, reference.", show_default=False)
    ],
    metrics: Annotated[
        str,
        typer.Option(
            metavar="METRICS", help="Metrics as in a study, parted by commas: names, or {name: {option: value}}."
        ),
    ] = "rouge",
    compare: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="Another system's file on the same examples.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score the summaries of any system, with intervals, and compare them with another's. No study is needed.

    Example: kilowit evaluate mine.jsonl --metrics rouge,bleu --compare theirs.jsonl
    """
    from kilowit.cli import evaluating

    evaluating.evaluate(predictions, metrics, compare, as_json=as_json)


def judge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="JSON or jsonl of human scores.", show_default=False)
    ],
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="METRICS",
            help="Metrics as in a study, parted by commas: names, or {name: {option: value}}. "
            "None = rouge, chrf and extractiveness, of them what is installed.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how far our metrics agree with people: Kendall, Spearman and Pearson correlations with intervals.

    Example: kilowit metrics judge qags_cnndm.json --metrics rouge,extractiveness
    """
    from kilowit.cli import evaluating

    evaluating.judge_metrics(files, metrics, as_json=as_json)


def dataset(
    spec: Annotated[
        str, typer.Argument(metavar="DATASET", help="A name, a file of pairs, or a folder.", show_default=False)
    ],
    overrides: Overrides = [],  # noqa: B006
    tokenizer: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder or hub id: lengths in its tokens, not words.")
    ] = None,
    max_source: Annotated[int | None, typer.Option(metavar="N", min=1, help="Mark what this length cuts.")] = None,
    max_target: Annotated[int | None, typer.Option(metavar="N", min=1, help="Likewise of the summaries.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Measure every example, not a sample.")] = False,
    as_json: AsJson = False,
) -> None:
    """Describe any dataset: lengths, what each maximum length cuts, how much the summaries copy. No study is needed.

    Example: kilowit dataset pairs.jsonl --set document_column=article --max-source 512
    """
    from kilowit.cli import dataset_view
    from kilowit.dataset import describe_dataset

    facts = describe_dataset(
        spec, overrides=overrides, tokenizer=tokenizer, max_source=max_source, max_target=max_target, whole=whole
    )
    dataset_view.show_card(facts, as_json=as_json)
