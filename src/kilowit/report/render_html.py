"""The report as one HTML file: styles, script, figures and CSV files inlined; it asks the network for nothing.

A content security policy allows the inlined style and script by their hash and nothing else, so that text which
slipped through escaping still could not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from itertools import groupby
from typing import Final

from kilowit.report.contents import Contents, Figure, Section
from kilowit.report.figure_bill import TEXTURED, hatch
from kilowit.report.findings import DatasetAnswer
from kilowit.report.markup import Markup, join, tag
from kilowit.report.render_csv import csv_text
from kilowit.report.repeat import Repeat
from kilowit.report.table import Entry, Table

MAX_INLINE_CSV_BYTE: Final = 400_000  # larger ones, and those the page cuts, are linked as the file beside it

MAX_ONE_LINE_HEAD: Final = 11  # of a column's
MAX_ONE_LINE: Final = 26  # characters of a text that a wide page does not break


def html_text(contents: Contents) -> str:
    """Write the whole page."""
    style, script = _asset("style.css") + _asset("figure.css"), _asset("script.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{contents.title} · kilowit"),
        Markup(f"<style>{style}</style>"),
    )
    body = tag(
        "body",
        tag("a", "Skip to the answer", href="#answer", class_="skip"),
        _header(contents),
        tag("main", _answers(contents.answers), *(_section(s) for s in contents.sections), _signatures(contents)),
        tag("footer", tag("p", "Made by kilowit from the run folders alone. Figures are SI in the CSV files.")),
        Markup(f"<script>{script}</script>"),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _asset(name: str) -> str:
    return resources.files("kilowit.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _header(contents: Contents) -> Markup:
    links = [tag("li", tag("a", s.title, href=f"#{s.anchor}")) for s in contents.sections]
    return tag(
        "header",
        tag("p", "kilowit", class_="brand"),
        tag("h1", contents.title),
        tag("p", contents.subtitle, class_="subtitle"),
        tag("nav", tag("ul", *links), aria_label="Contents"),
    )


def _answers(answers: Sequence[DatasetAnswer]) -> Markup:
    blocks: list[Markup] = []
    for answer in answers:
        if len(answers) > 1:
            blocks.append(tag("h3", answer.dataset))
        blocks.append(tag("p", answer.sentences[0], class_="verdict"))
        blocks += [tag("p", sentence) for sentence in answer.sentences[1:]]
    return tag("section", tag("h2", "The answer"), *blocks, id="answer", class_="answer")


def _section(section: Section) -> Markup:
    figures = [_figures(list(group)) for _, group in groupby(section.figures, key=lambda f: f.caption)]
    tables = [_table(t, with_title=t.title != section.title) for t in section.tables if t.rows]
    paragraphs = [tag("p", text) for text in section.paragraphs]
    repeats = [_repeat(repeat) for repeat in section.repeats]
    return tag("section", tag("h2", section.title), *paragraphs, *figures, *tables, *repeats, id=section.anchor)


def _figures(figures: Sequence[Figure]) -> Markup:
    """One figure, or several of which radio buttons (without script) show one."""
    first = figures[0]
    caption = tag("figcaption", first.caption)
    if len(figures) == 1:
        return tag("figure", first.wide, first.narrow, _legend(first.legend), caption)
    controls: list[Markup] = []
    for index, figure in enumerate(figures):
        controls.append(
            tag("input", type="radio", name=f"choose-{first.name}", id=f"choose-{figure.name}", checked=index == 0)
        )
        controls.append(tag("label", figure.option, for_=f"choose-{figure.name}"))
    panels = [tag("div", figure.wide, figure.narrow, class_="panel") for figure in figures]
    return tag("figure", *controls, *panels, _pareto_legend(), caption, class_="options")


def _pareto_legend() -> Markup:
    def mark(kind: str, shape: Markup, text: str) -> Markup:
        return tag("li", tag("svg", shape, viewBox="0 0 16 16", class_=f"figure key {kind}", aria_hidden="true"), text)

    disc = {"cx": 8, "cy": 8, "r": 5.5}
    return tag(
        "ul",
        mark("front", tag("circle", **disc, class_="mark on-front"), "on the front"),
        mark("beaten", tag("circle", **disc, class_="mark beaten"), "beaten by another"),
        mark("baseline", tag("path", d="M8,1l7,7l-7,7l-7,-7z", class_="mark on-front"), "training-free baseline"),
        class_="legend",
    )


def _legend(names: Sequence[str]) -> Markup:
    if not names:
        return Markup("")
    items = []
    for name in names:
        shapes = [tag("rect", width=16, height=16, class_=f"stretch {name}")]
        if name in TEXTURED:
            shapes += [
                tag("defs", hatch(f"key-{name}")),
                tag("rect", width=16, height=16, fill=f"url(#hatch-key-{name})"),
            ]
        items.append(tag("li", tag("svg", *shapes, viewBox="0 0 16 16", class_="figure key", aria_hidden="true"), name))
    return tag("ul", *items, class_="legend")


def _table(table: Table, *, with_title: bool) -> Markup:
    heads = [_head(table, i) for i in range(len(table.columns))]
    rows = []
    for number, row in enumerate(table.visible_rows):
        cells = [_cell(table, entry, i) for i, entry in enumerate(row)]
        rows.append(tag("tr", *cells, class_="total" if number in table.emphasised_rows else None))
    title = tag("h3", table.title) if with_title else Markup("")
    grid = tag(
        "table",
        tag("thead", tag("tr", *heads)),
        tag("tbody", *rows),
        class_=None if table.emphasised_rows else "sortable",
    )
    return tag(
        "div",
        tag("div", title, _csv_link(table), class_="table-head"),
        tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label=table.title),
        _notes(table),
        class_="table",
    )


def _head(table: Table, index: int) -> Markup:
    unit = table.units[index].name
    shown = tag("span", unit, class_="unit") if unit else Markup("")
    label = table.columns[index].label
    kinds = ["number"] if table.columns[index].is_numeric else []
    kinds += ["one-line"] if len(label) <= MAX_ONE_LINE_HEAD else []
    return tag("th", label, " " if unit else "", shown, scope="col", class_=" ".join(kinds) or None)


def _cell(table: Table, entry: Entry, index: int) -> Markup:
    kind = "number" if table.columns[index].is_numeric else None
    name = "td" if index else "th"
    if kind is None and isinstance(entry.value, str) and len(entry.value) <= MAX_ONE_LINE:
        kind = "one-line"
    scope = None if index else "row"
    if entry.value is None:
        letter = table.letter(entry)
        mark = tag("sup", letter, title=entry.reason)
        return tag(
            name, table.text(entry, index), mark, class_=join(kind or "", " unknown"), scope=scope, title=entry.reason
        )
    side = table.side_text(entry, index)
    text = table.text(entry, index)
    value = repr(float(entry.value)) if not isinstance(entry.value, str) else None
    small = tag("span", side, class_="interval") if side else Markup("")
    return tag(name, text, " " if side else "", small, class_=kind, scope=scope, data_value=value)


def _csv_link(table: Table) -> Markup:
    text = b"" if table.num_rows_cut else csv_text(table).encode()
    href = f"tables/{table.name}.csv"
    if text and len(text) <= MAX_INLINE_CSV_BYTE:
        href = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text).decode()}"
    label = f"Download {table.title} as CSV"
    return tag("a", "CSV", href=href, download=f"{table.name}.csv", class_="csv", aria_label=label)


def _notes(table: Table) -> Markup:
    notes: list[Markup] = []
    if table.num_rows_cut:
        link = tag("a", f"tables/{table.name}.csv", href=f"tables/{table.name}.csv")
        notes.append(tag("p", f"{table.num_rows_cut:,} more rows are in the CSV file: ", link))
    reasons = [join(tag("sup", table.letter(Entry.unknown(reason))), " ", reason) for reason in table.reasons]
    if reasons:
        notes.append(
            tag("p", *(join(reason, ". " if i < len(reasons) - 1 else ".") for i, reason in enumerate(reasons)))
        )
    notes += [tag("p", note) for note in table.footnotes]
    notes += [tag("p", tag("code", line), class_="signature") for line in table.signatures]
    return tag("div", *notes, class_="notes") if notes else Markup("")


def _repeat(repeat: Repeat) -> Markup:
    return tag(
        "div",
        tag("h3", f"{repeat.name}.yaml"),
        tag("pre", tag("code", repeat.yaml), tabindex="0"),
        tag("pre", tag("code", "\n".join(repeat.commands)), tabindex="0"),
        *(tag("p", note, class_="notes") for note in repeat.notes),
    )


def _signatures(contents: Contents) -> Markup:
    if not contents.signatures:
        return Markup("")
    lines = [tag("p", tag("code", line), class_="signature") for line in contents.signatures]
    text = "How every measured figure of this report was taken: sources, idle, PUE, grid, sampling period, version."
    return tag("section", tag("h2", "Measurement signature"), tag("p", text), *lines, id="signature")
