"""The whole report of a fixed study, held line by line.

After a change that is meant: ``KILOWIT_UPDATE_GOLDEN=1 pytest tests/golden/report`` and read the difference.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from kilowit.report import contents_of
from kilowit.report.render_markdown import markdown_text
from report_records import study_records

GOLDEN = Path(__file__).with_name("study.md")


def test_markdown_of_a_fixed_study_is_as_committed() -> None:
    text = markdown_text(contents_of(study_records(), generated_at=datetime(2026, 11, 23, tzinfo=UTC)))
    if os.environ.get("KILOWIT_UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
