"""Execute a py:percent notebook as a team would: in a kernel of its own, with the parameters that a test gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SECOND = 900  # of one cell, on a machine that others use too


def run_notebook(source: Path, folder: Path, parameters: dict[str, Any], environment: dict[str, str]) -> Any:
    """Return the executed notebook; `parameters` follow the cell that is tagged so.

    `environment` is added to that of the tests.

    Raises:
        CellExecutionError: a cell failed; with its traceback.
    """
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    (place,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(given))
    client = NotebookClient(
        notebook, timeout=SECOND, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, **environment})
    return notebook


def printed(notebook: Any, heading: str) -> str:
    """Return what the cells below a heading printed to stdout."""
    texts, is_below = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            is_below = heading in cell.source
        elif is_below and cell.cell_type == "code":
            texts += [out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout"]
    return "".join(texts)
