"""How files are to be read, where that is not for the files to say.

Takes what the user asked for, gives it as text to be stored with a source. Knows no file and no format.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """``columns`` are pairs of (fact, column); ``again`` is to read also what is as it was."""

    format_name: str | None = None
    tokenizer: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    again: bool = False

    def as_text(self) -> str:
        """What is stored of them with a source. Empty where nothing was asked for."""
        asked = {"tokenizer": self.tokenizer, "columns": self.columns}
        return json.dumps({name: value for name, value in asked.items() if value}) if any(asked.values()) else ""
