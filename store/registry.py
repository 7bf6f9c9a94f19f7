"""Lists a folder of entries: one module, one entry, and the module's name is the entry's name.

Takes the package that is the folder and the name of the record each module ends in; gives the entries. Knows nothing
of what an entry does.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from .errors import NotFoundError


@cache
def names(package: str) -> tuple[str, ...]:
    """The entries of a folder, in alphabetical order, without importing them."""
    path = importlib.import_module(package).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")))


@cache
def get(package: str, name: str, attribute: str) -> Any:
    """The record that module ``name`` of the folder ends in. Raises NotFoundError naming those that exist."""
    known = names(package)
    if name not in known:
        kind = package.rsplit(".", 1)[-1].rstrip("s")
        raise NotFoundError(f"There is no {kind} {name!r}; there are: {', '.join(known)}.")
    return getattr(importlib.import_module(f"{package}.{name}"), attribute)


def entries(package: str, attribute: str) -> dict[str, Any]:
    """All records of a folder by name."""
    return {name: get(package, name, attribute) for name in names(package)}
