"""The model card of an exported summarizer: what it is, what it cost, how good it is, and how all that was measured.

The front matter follows the Hugging Face hub's model card specification (``co2_eq_emissions`` is in grams).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from kilowit.cell import Cell
from kilowit.factors.derive import Derived, derive
from kilowit.meter import MeterResult
from kilowit.parts.text_codec import Manifest
from kilowit.record import PhaseFigures, Record
from kilowit.served import ServedRuntime, ServedScenario
from kilowit.serving.folder import precision_of
from kilowit.serving.making import making_figures
from kilowit.serving.source import DEFAULT_RUNTIME, Source
from kilowit.settings import FactorSettings, RuntimeSettings

CARD_FILE: Final = "README.md"
SCRIPT_FILE: Final = "summarize.py"  # left by runtimes that can run without kilowit
_UNKNOWN: Final = "unknown"
# What the hub calls the library that reads the weights, where it is not the runtime itself.
_LIBRARIES: Final = {
    "torch": "transformers", "torch_fast": "transformers", "torch_compile": "transformers", "onnxruntime": "onnx",
}  # fmt: skip


def model_card(
    source: Source,
    folder: Path,
    manifest: Manifest,
    metered: MeterResult,
    factors: FactorSettings | None,
    usage: str | None = None,
) -> str:
    """Write the card.

    Args:
        folder: what was exported.
        metered: what the export took.
        factors: prices the bills; None = as the study of the run says.
        usage: the section on how it is used; None = as a folder that kilowit loads.
    """
    record = None if source.run is None else source.run.record
    priced = factors if factors is not None and factors.model_dump(exclude_none=True) else factors_of(record)
    making = None if record is None else making_figures(record)
    made = None if making is None else _derived(making, priced)
    facts = _front_matter(source, manifest, record, made, priced)
    front = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=100)
    sections = [
        f"# {manifest.name}",
        f"A summarizer of the family {manifest.family} ({manifest.source}), exported by kilowit for the runtime "
        f"{manifest.runtime} in {manifest.precision}. Signature: `{manifest.signature}`.",
        usage or _usage(manifest, folder),
        data_section(record),
        _quality(record, manifest),
        _bill_section(making, made, metered, priced),
        _serving(record, manifest, priced),
        _measurement(record, metered),
        _licence(record, manifest),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def factors_of(record: Record | None) -> FactorSettings:
    """Return what the study of a run prices it with."""
    return FactorSettings() if record is None else FactorSettings.model_validate(record.cell.get("factors") or {})


def _derived(figures: PhaseFigures, factors: FactorSettings) -> Derived:
    return derive(figures, region=factors.region, machine=factors.machine, pue=factors.pue)


def _front_matter(
    source: Source, manifest: Manifest, record: Record | None, made: Derived | None, factors: FactorSettings
) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": _LIBRARIES.get(manifest.runtime, manifest.runtime),
        "pipeline_tag": "summarization",
        "tags": ["summarization", "kilowit", manifest.family, manifest.precision],
        "license": "other",
        "license_name": "see-below",
    }
    if record is not None and record.dataset is not None:
        if record.dataset.source.startswith("hub:"):  # the hub knows no other names
            front["datasets"] = [record.dataset.source.removeprefix("hub:").partition("@")[0]]
        front["metrics"] = sorted({"rouge" if s.metric.startswith("rouge") else s.metric for s in record.scores})
        if _is_as_scored(manifest, source, record):
            front["model-index"] = [_results(manifest, record)]
    if manifest.source.startswith("hub:") or (record and record.model and record.model.source.startswith("hub:")):
        origin = record.model.source if record is not None and record.model is not None else manifest.source
        front["base_model"] = origin.removeprefix("hub:").partition("@")[0]
    if made is not None and record is not None and (emissions := emissions_block(record, made, factors)) is not None:
        front["co2_eq_emissions"] = emissions
    return front


def emissions_block(record: Record, made: Derived, factors: FactorSettings) -> dict[str, Any] | None:
    """Return the hub's ``co2_eq_emissions`` of making a model, in grams; None when the energy is unknown."""
    if made.co2e_operational_kg is None:
        return None
    return {
        "emissions": round(1000 * (made.co2e_operational_kg + (made.co2e_embodied_kg or 0.0)), 6),
        "source": f"kilowit; {record.measurement_signature}",
        "training_type": "pre-training" if _is_from_scratch(record) else "fine-tuning",
        "geographical_location": factors.region or _UNKNOWN,
        "hardware_used": hardware_text(record),
    }


def _is_from_scratch(record: Record) -> bool:
    return record.model is not None and record.model.source.startswith("scratch:")


def _is_as_scored(manifest: Manifest, source: Source, record: Record) -> bool:
    """Whether the run's scores are of this runtime and precision: transformers writes as torch in fp32 does.

    What a method exported in its own way is not made again here, and its scores are not claimed.
    """
    if any(hasattr(call.module, "compress_trained") for call in Cell.from_dict(record.cell).methods):
        return False
    chosen = source.runtime or RuntimeSettings(name=DEFAULT_RUNTIME)
    return (chosen.name, precision_of(chosen)) == (manifest.runtime, manifest.precision)


def _results(manifest: Manifest, record: Record) -> dict[str, Any]:
    assert record.dataset is not None
    dataset = {"type": record.dataset.name, "name": record.dataset.name, "split": "test"}
    metrics = [{"type": score.metric, "value": round(score.value, 6)} for score in record.scores]
    result = {"task": {"type": "summarization"}, "dataset": dataset, "metrics": metrics}
    return {"name": manifest.name, "results": [result]}


def hardware_text(record: Record) -> str:
    """Return what a run ran on, in words."""
    gpus = record.environment.get("gpus") or []
    cpu = (record.environment.get("cpu") or {}).get("model") or _UNKNOWN
    return f"{len(gpus)} x {gpus[0].get('name')}, {cpu}" if gpus else str(cpu)


def _usage(manifest: Manifest, folder: Path) -> str:
    alone = ""
    if (folder / SCRIPT_FILE).is_file():
        alone = (
            f"Without kilowit: `pip install -r requirements.txt`, then `python {SCRIPT_FILE} article.txt` "
            f"(`python {SCRIPT_FILE} --help`).\n\n"
        )
    options = ", ".join(f"{name} {value}" for name, value in vars(manifest.generate).items())
    return (
        "## How to use\n\n"
        "```sh\nkilowit summarize article.txt --model THIS_FOLDER\n```\n\n"
        '```python\nimport kilowit\n\nwith kilowit.load_summarizer("THIS_FOLDER") as summarizer:\n'
        '    summarizer.summarize(["A long text."])\n```\n\n'
        f"{alone}Documents are cut to {manifest.max_source_tokens:,} tokens. Where a call says nothing else: {options}."
    )


def data_section(record: Record | None) -> str:
    """Return the section on what the model was trained on."""
    if record is None or record.dataset is None:
        return "## Data\n\nUnknown: the model was not trained by a run of kilowit that is at hand."
    facts = record.dataset
    rows = [
        (s.split, f"{s.num_examples:,}", _number(s.source_words_mean), _number(s.target_words_mean))
        for s in facts.splits
    ]
    table = markdown_table(("split", "examples", "words a document", "words a summary"), rows)
    return f"## Data\n\n{facts.name}: {facts.source}; fingerprint `{facts.fingerprint[:16]}`.\n\n{table}"


def _quality(record: Record | None, manifest: Manifest) -> str:
    if record is None or not record.scores:
        return "## Quality\n\nNot measured."
    rows = [
        (s.metric, f"{s.value:.4f}", f"{_ends(s.ci95_low, s.ci95_high, '.4f')}", f"{s.num_examples:,}")
        for s in record.scores
    ]
    own = record.cell.get("settings", {}).get("predict", {}).get("runtime") or {"name": "transformers"}
    text = f"## Quality\n\nOn the test split, as the run wrote it ({own['name']}).\n\n"
    text += markdown_table(("metric", "value", "95 % interval", "examples"), rows)
    text += "\n\n" + _agreement(_served(record, manifest), manifest)
    return text + "\n\nMetrics: " + "; ".join(sorted({f"`{s.signature}`" for s in record.scores})) + "."


def _agreement(served: ServedRuntime | None, manifest: Manifest) -> str:
    if served is None or served.agreement is None:
        return (
            f"How far {manifest.runtime} in {manifest.precision} writes the same was not measured: serve it in the "
            "study to know (`serve: {runtimes: [...]}`)."
        )
    found = served.agreement
    text = (
        f"{manifest.runtime} in {manifest.precision} against PyTorch in fp32 on {found.num_examples:,} documents: "
        f"{found.identical_fraction:.1%} of the summaries are identical, {found.token_match_fraction:.2%} of tokens."
    )
    for d in found.differences:
        text += f" {d.metric} {d.difference:+.4f} {_ends(d.ci95_low, d.ci95_high, '+.4f')}, {d.verdict}."
    return text


def _bill_section(
    making: PhaseFigures | None, made: Derived | None, metered: MeterResult, factors: FactorSettings
) -> str:
    rows = [] if making is None or made is None else [bill_row("training", making, made)]
    rows.append(bill_row("this export", metered.total, _derived(metered.total, factors)))
    table = markdown_table(("what", "time", "energy", "CO2e", "on demand"), rows)
    note = (
        "Training is all that making the model took: prepare, load, warm-up, compress, train, validate, save. [a, b]: "
        "as far as the sensors may be wrong."
    )
    return f"## What it cost\n\n{table}\n\n{note}"


def bill_row(name: str, figures: PhaseFigures, derived: Derived) -> tuple[str, ...]:
    """Return one line of a bill: what, time, energy, CO2e, dollars on demand."""
    return (
        name,
        f"{figures.wall_second:,.1f} s",
        _joule(figures.energy_total_joule, figures.energy_total_joule_low, figures.energy_total_joule_high),
        _UNKNOWN if derived.co2e_operational_kg is None else f"{1000 * derived.co2e_operational_kg:.4g} g",
        _UNKNOWN if derived.cost_usd_on_demand is None else f"${derived.cost_usd_on_demand:.4g}",
    )


def _serving(record: Record | None, manifest: Manifest, factors: FactorSettings) -> str:
    served = None if record is None else _served(record, manifest)
    if served is None or not served.scenarios:
        return "## What a summary costs\n\nNot measured for this runtime."
    rows = [_serving_row(scenario, factors) for scenario in served.scenarios if scenario.num_examples]
    columns = ("requests", "summaries/s", "p50", "p95", "p99", "J a summary", "g CO2e of 1,000", "$ of 1,000")
    device = f"On {served.device} ({hardware_text(record)})." if record is not None else ""
    return f"## What a summary costs\n\n{device}\n\n{markdown_table(columns, rows)}"


def _serving_row(scenario: ServedScenario, factors: FactorSettings) -> tuple[str, ...]:
    n = scenario.num_examples
    names = ("energy_total_joule", "energy_total_joule_low", "energy_total_joule_high")
    energies = {name: getattr(scenario, name) for name in names}
    figures = PhaseFigures(phase="serve", wall_second=scenario.wall_second, **energies)
    derived = _derived(figures, factors)
    each = [None if (value := energies[name]) is None else value / n for name in names]
    carbon, cost = derived.co2e_operational_kg, derived.cost_usd_on_demand
    return (
        scenario.scenario,
        _number(scenario.examples_per_second),
        *(_seconds(getattr(scenario, f"latency_p{p}_second")) for p in (50, 95, 99)),
        _joule(each[0], each[1], each[2]).removesuffix(" J"),
        _UNKNOWN if carbon is None else f"{1e6 * carbon / n:.3g}",
        _UNKNOWN if cost is None else f"{1000 * cost / n:.3g}",
    )


def _served(record: Record, manifest: Manifest) -> ServedRuntime | None:
    """Return how the run served this very runtime, if it did."""
    same = (s for s in record.serving if (s.runtime, s.precision) == (manifest.runtime, manifest.precision))
    return next(same, None)


def _measurement(record: Record | None, metered: MeterResult) -> str:
    lines = [] if record is None else [f"- run {record.run_id}: `{record.measurement_signature}`"]
    lines.append(f"- this export: `{metered.signature}`")
    return "## How it was measured\n\n" + "\n".join(lines)


def _licence(record: Record | None, manifest: Manifest) -> str:
    data = _UNKNOWN if record is None or record.dataset is None else record.dataset.licence
    if record is not None and _is_from_scratch(record):
        weights = "The weights were trained from random ones."
    else:
        origin = manifest.source if record is None or record.model is None else record.model.source
        weights = f"The weights come from {origin}, whose licence goes on to apply."
    return (
        f"## Licence\n\nkilowit grants none for these weights. {weights} The data that they were trained on stands "
        f"under: {data}. Read both before you pass the folder on."
    )


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.4g}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} s"


def _joule(value: float | None, low: float | None, high: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.4g}{_ends(low, high, ',.4g', before=' ')} J"


def _ends(low: float | None, high: float | None, form: str, before: str = "") -> str:
    return "" if low is None or high is None else f"{before}[{low:{form}}, {high:{form}}]"
