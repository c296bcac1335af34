"""`kilowit dataset`: the card of a dataset for a terminal, a pipe or a machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit.console import say, show, show_json, show_table
from kilowit.parts.text_lengths import length_bars
from kilowit.record import DatasetFacts, LengthFacts, SplitFacts
from kilowit.report.quantity import number
from kilowit.report.tables.datasets import OWN_MARK

BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ORDERS: Final = (1, 2, 3, 4)


def show_card(facts: DatasetFacts, *, as_json: bool) -> None:
    """Show what is known of a dataset."""
    if as_json:
        show_json(facts)
        return
    show(f"dataset      {facts.name} ({facts.source})")
    for name, text in (("version", facts.version), ("revision", facts.revision), ("licence", facts.licence)):
        if text is not None:
            show(f"{name:<12} {text}")
    show(f"columns      {facts.document_column} to {facts.summary_column}")
    show(f"fingerprint  {facts.fingerprint}")
    show("")
    _show_sizes(facts.splits)
    show("")
    _show_borrowing(facts.splits)
    for side in ("source", "target"):
        lengths = {split.split: known for split in facts.splits if (known := getattr(split, f"{side}_length"))}
        heading = f"{side}s in {'/'.join(sorted({known.unit for known in lengths.values()}))}s"
        show("")
        _show_lengths(heading, lengths)
        show("")
        _show_cuts(heading, lengths)
    for note in facts.notes:
        say(f"note: {note}")


def _show_sizes(splits: Sequence[SplitFacts]) -> None:
    means = ("source words", "target words", "source tokens", "target tokens")
    rows = [
        (
            split.split,
            split.num_examples,
            split.num_measured,
            *(_plain(getattr(split, f"{mean.replace(' ', '_')}_mean")) for mean in means),
        )
        for split in splits
    ]
    show_table(("split", "examples", "measured", *means), rows)


def _show_borrowing(splits: Sequence[SplitFacts]) -> None:
    columns = ("split", "coverage", "density", "compression", *(f"novel {order}-grams" for order in _ORDERS))
    rows = [
        (
            split.split,
            _share(split.coverage_mean),
            _plain(split.density_mean),
            _plain(split.compression_mean),
            *(_share(getattr(split, f"novel_{order}gram_fraction")) for order in _ORDERS),
        )
        for split in splits
    ]
    show_table(columns, rows)


def _show_lengths(heading: str, lengths: dict[str, LengthFacts]) -> None:
    columns = (heading, "counted", "shortest", "5 %", "median", "95 %", "longest", "distribution")
    drawn = sparklines(list(lengths.values()))
    rows = [
        (split, facts.num_texts, *(facts.percentiles[p] for p in ("0", "5", "50", "95", "100")), line)
        for (split, facts), line in zip(lengths.items(), drawn, strict=True)
    ]
    show_table(columns, rows)


def _show_cuts(heading: str, lengths: dict[str, LengthFacts]) -> None:
    """Show the share over each maximum: up to the first that cuts nothing, and the study's own."""
    limits = sorted({int(limit) for facts in lengths.values() for limit in facts.truncated_fraction})
    shares = {limit: [facts.truncated_fraction[str(limit)] for facts in lengths.values()] for limit in limits}
    first_idle = next((limit for limit in limits if not any(shares[limit])), limits[-1] if limits else 0)
    own = {facts.maximum for facts in lengths.values()}
    kept = [limit for limit in limits if limit <= first_idle or limit in own]
    columns = (heading, *(f"over {limit:,}{OWN_MARK if limit in own else ''}" for limit in kept))
    cuts = {split: facts.truncated_fraction for split, facts in lengths.items()}
    show_table(columns, [(split, *(_share(cut[str(limit)]) for limit in kept)) for split, cut in cuts.items()])


def sparklines(lengths: Sequence[LengthFacts]) -> list[str]:
    """Draw distributions as lines of blocks under each other: a character a quarter octave, from short to long."""
    drawn = [{bar.octave_to: bar.share_per_octave for bar in length_bars(facts)} for facts in lengths]
    octaves = sorted({octave for bars in drawn for octave in bars})
    lines = []
    for bars in drawn:
        tallest = max(bars.values())
        heights = [bars.get(octave, 0.0) / tallest for octave in octaves]
        lines.append("".join(_block(height) for height in heights).rstrip())
    return lines


def _block(height: float) -> str:
    """Return the block of a height in [0, 1]; only nothing at all is drawn as a space."""
    return " " if height == 0 else BLOCKS[min(int(height * len(BLOCKS)), len(BLOCKS) - 1)]


def _plain(value: float | None) -> str | None:
    return None if value is None else number(value)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{number(100 * value)} %"
