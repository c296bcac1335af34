"""The report as Markdown: the same sections, tables and numbers as the page, for terminals, diffs and README files."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Final
from urllib.parse import quote

from kilowit.report.contents import Contents, Figure, Section
from kilowit.report.markup import clean
from kilowit.report.repeat import Repeat
from kilowit.report.table import Entry, Table

# What Markdown would interpret: code, emphasis, table bars, links (the bracket that a target follows), headings,
# strike-through, and underscores that are not within a word.
_SPECIAL: Final = re.compile(r"[\\`*|]|\](?=[(\[:])|^\s*[#>+-](?=\s)|~(?=~)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " ", "\r": " ", "\t": " "})


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    escaped = _SPECIAL.sub(lambda match: f"\\{match.group(0).lstrip()}", clean(text))
    return escaped.translate(_ENTITIES)


def markdown_text(contents: Contents, *, figures_folder: str = "figures") -> str:
    """Write the whole report."""
    blocks = [f"# {escape(contents.title)}", escape(contents.subtitle), "## The answer"]
    for answer in contents.answers:
        prefix = f"**{escape(answer.dataset)}.** " if len(contents.answers) > 1 else ""
        blocks.append(prefix + "\n".join(escape(sentence) for sentence in answer.sentences))
    for section in contents.sections:
        blocks += _section(section, figures_folder)
    blocks += ["## Measurement signature", *(f"`{_code(line)}`" for line in contents.signatures)]
    return "\n\n".join(blocks) + "\n"


def _section(section: Section, figures_folder: str) -> list[str]:
    blocks = [f"## {escape(section.title)}", *(escape(p) for p in section.paragraphs)]
    for _, group in groupby(section.figures, key=lambda f: f.caption):
        blocks += _figures(list(group), section.title, figures_folder)
    for table in section.tables:
        if table.rows:
            blocks += _table(table, with_title=table.title != section.title)
    return blocks + [block for repeat in section.repeats for block in _repeat(repeat)]


def _figures(figures: list[Figure], title: str, folder: str) -> list[str]:
    """The first figure, and links to the others of the same kind."""
    first, *others = figures
    name = f"{first.option} " if first.option else ""
    links = [f"[{escape(f.option or f.name)}]({folder}/{quote(f.name)}.svg)" for f in others]
    also = f" The same for {', '.join(links)}." if links else ""
    return [f"![{escape(name + title)}]({folder}/{quote(first.name)}.svg)", escape(first.caption) + also]


def _table(table: Table, *, with_title: bool) -> list[str]:
    header = [escape(table.header(i)) for i in range(len(table.columns))]
    rule = ["---:" if column.is_numeric else "---" for column in table.columns]
    lines = [_line(header), _line(rule)]
    for number, row in enumerate(table.visible_rows):
        cells = [_entry(table, entry, i) for i, entry in enumerate(row)]
        lines.append(_line([f"**{cell}**" for cell in cells] if number in table.emphasised_rows else cells))
    notes = [f"{table.letter(Entry.unknown(reason))}: {escape(reason)}" for reason in table.reasons]
    blocks = [f"### {escape(table.title)}"] if with_title else []
    blocks.append("\n".join(lines))
    if table.num_rows_cut:
        blocks.append(f"{table.num_rows_cut:,} more rows are in [the CSV file](tables/{table.name}.csv).")
    blocks += ["; ".join(notes)] if notes else []
    blocks += [escape(note) for note in table.footnotes]
    return blocks + [f"`{_code(line)}`" for line in table.signatures]


def _entry(table: Table, entry: Entry, index: int) -> str:
    text = escape(table.text(entry, index))
    if entry.value is None:
        return f"{text}<sup>{table.letter(entry)}</sup>"
    side = table.side_text(entry, index)
    return f"{text} {escape(side)}" if side else text


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _repeat(repeat: Repeat) -> list[str]:
    fence = "```"
    while fence in repeat.yaml:
        fence += "`"
    blocks = [f"`{_code(repeat.name)}.yaml`:", f"{fence}yaml\n{clean(repeat.yaml).rstrip()}\n{fence}"]
    blocks.append("```sh\n" + "\n".join(_code(command) for command in repeat.commands) + "\n```")
    return blocks + [escape(note) for note in repeat.notes]


def _code(text: str) -> str:
    """Text within backticks, which nothing can escape: backticks become apostrophes."""
    return " ".join(clean(text).replace("`", "'").split("\n"))
