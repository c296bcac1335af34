"""A Hugging Face model card for each run that made a model: what making it emitted, its scores, its bill by phase.

The card of an exported model is `kilowit.serving.model_card`, which also knows runtime and weights. This one is for a
run whose weights were kept elsewhere or not at all, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from kilowit.errors import StoreError
from kilowit.exchange.priced import PricedRun, priced_run
from kilowit.record import Record
from kilowit.serving.model_card import bill_row, data_section, emissions_block, markdown_table
from kilowit.settings import FactorSettings


def card_files(records: Sequence[Record], asked: FactorSettings) -> Mapping[str, bytes]:
    """Return a card for each finished run that trained a model.

    Raises:
        StoreError: none did.
    """
    trained = [r for r in records if r.status == "finished" and r.model is not None and r.phase("train") is not None]
    if not trained:
        raise StoreError("no finished run trained a model", hint="Baselines and failed runs have no model card.")
    return {f"{record.run_id}.md": _card(priced_run(record, asked)).encode() for record in trained}


def _card(run: PricedRun) -> str:
    record = run.record
    assert record.model is not None
    front: dict[str, object] = {"pipeline_tag": "summarization", "tags": ["summarization", "kilowit"]}
    if record.model.source.startswith("hub:"):
        front["base_model"] = record.model.source.removeprefix("hub:").partition("@")[0]
    emissions = emissions_block(record, run.derived(run.making), run.factors)
    if emissions is not None:
        front["co2_eq_emissions"] = emissions
    rows = [bill_row(phase.phase, phase, run.derived(phase)) for phase in record.phases]
    rows.append(bill_row("all", run.billed, run.derived(run.billed)))
    sections = [
        f"# {record.model.name}",
        f"A summarizer of the family {record.model.family} ({record.model.source}), as run `{record.run_id}` of "
        "kilowit left it. This card is of the run: the weights are not beside it.",
        data_section(record),
        _scores(record),
        "## What it cost\n\n" + markdown_table(("phase", "time", "energy", "CO2e", "on demand"), rows),
        f"## How it was measured\n\n`{record.measurement_signature}`",
    ]
    written = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{written}---\n\n" + "\n\n".join(sections) + "\n"


def _scores(record: Record) -> str:
    if not record.scores:
        return "## Quality\n\nNot measured."
    rows = [(s.metric, f"{s.value:.4f}", f"{s.num_examples:,}") for s in record.scores]
    signatures = "; ".join(sorted({f"`{s.signature}`" for s in record.scores}))
    table = markdown_table(("metric", "value", "examples"), rows)
    return f"## Quality\n\nOn the test split.\n\n{table}\n\nMetrics: {signatures}."
