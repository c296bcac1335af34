"""Serve a trained summarizer: load it behind any runtime, ask it as users would, export it for others.

Stands right of the store, for it reads run folders, and left of the plan. `kilowit.run.serve` meters it in a study.
"""

from __future__ import annotations

from kilowit.serving.summarizer import Bill, Summarizer, load_summarizer, summarize

__all__ = ["Bill", "Summarizer", "load_summarizer", "summarize"]
