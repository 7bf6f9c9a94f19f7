"""Counts in sentences. Takes numbers and nouns, gives text; knows no command."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """``1 file``, ``2,000 files``: of a noun whose plural is regular."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
