"""What mypy does not notice: a folder of modules that is missing from ``packages``; and what ``--help`` imports."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_with_modules_is_a_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    tops = ("cli", "ingest", "analysis", "store")
    folders = {path.parent.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*.py")}
    assert listed == {"investigate"} | {".".join(("investigate", *folder.parts)) for folder in folders}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['investigate', '--help']\n"
        "from investigate.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'duckdb', 'pyarrow', 'numpy', 'sklearn', 'tantivy', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ingest" in done.stdout
    assert done.stderr.strip() == "[]"
