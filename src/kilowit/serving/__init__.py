"""Serve a trained summarizer: load it behind any runtime, ask it as users would, export it for others.

Stands right of the store, for it reads run folders, and left of the plan. `kilowit.run.serve` meters it in a study.
"""

from __future__ import annotations

from kilowit.serving.export import Exported, export_model
from kilowit.serving.pyfunc import export_pyfunc
from kilowit.serving.summarizer import Bill, Summaries, Summarizer, load_summarizer, summarize

__all__ = [
    "Bill",
    "Exported",
    "Summaries",
    "Summarizer",
    "export_model",
    "export_pyfunc",
    "load_summarizer",
    "summarize",
]
