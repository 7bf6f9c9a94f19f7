"""How files are to be read, where that is not for the files to say.

Takes what the user asked for, gives it as text to be stored with a source. Knows no file and no format.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """``columns`` are pairs of (fact, column); ``again`` is to read also what is as it was."""

    format_name: str | None = None
    tokenizer: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    again: bool = False

    def asked(self) -> dict[str, Any]:
        """What was asked for of a source, as it is stored: nothing where the file says it all."""
        values = {
            "format": self.format_name,
            "tokenizer": self.tokenizer,
            "columns": [list(pair) for pair in self.columns],
        }
        return {name: value for name, value in values.items() if value}

    def are_met_by(self, format_name: str, options: str) -> bool:
        """Was a source that was read by a format, under these stored options, read as is asked for?"""
        asked, before = ({**given, "format": None} for given in (self.asked(), load_options(options)))
        return self.format_name in (None, format_name) and (asked == {"format": None} or asked == before)


def load_options(text: str) -> dict[str, Any]:
    """What ``dump_options`` wrote."""
    asked: dict[str, Any] = json.loads(text) if text else {}
    return asked


def dump_options(asked: dict[str, Any]) -> str:
    """As text; empty where nothing was asked for."""
    return json.dumps(asked) if asked else ""
