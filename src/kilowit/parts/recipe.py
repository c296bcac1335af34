"""What a packaged recipe is: a file ``parts/recipes/<name>.py`` whose docstring is its card, with ``METHODS``.

``METHODS`` lists methods as a study would: names, or ``{name: {options}}``. A study says ``recipes: {mine: frugal}``
and gets the list in its place, so that the cell's key says what was done and not what it was called.
"""

from __future__ import annotations

from typing import Any

from kilowit import parts


def packaged_methods(name: str) -> list[str | dict[str, dict[str, Any]]]:
    """Return the methods of a packaged recipe, as a study would list them.

    Raises:
        PartError: no such recipe.
    """
    return list(parts.load("recipes", name).METHODS)
