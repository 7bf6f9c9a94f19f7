"""The command reference says what the program says."""

from pathlib import Path

from investigate.cli.reference import render_reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


def test_the_page_is_what_the_program_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_reference(), (
        "python -m investigate.cli.reference > docs/commands.md"
    )
