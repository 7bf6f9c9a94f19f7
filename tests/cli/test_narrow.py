"""Tables on terminals of many widths: what qualifies a claim outlasts what is less needed, and what goes is named."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

PROGRAM = """
import json, sys
from investigate.cli.output import print_table
print_table(**json.loads(sys.argv[1]))
"""
CLUSTERS = """
from dataclasses import replace
from types import SimpleNamespace as Found
from investigate.analysis.text.cluster import Cluster
from investigate.analysis.text.enrichment import Enrichment
from investigate.cli.cluster import _show
rare = Enrichment("environment", "a-rather-long-environment", 50, 60, 1, 900, 45.0, 1e-9, 1e-8)
one = Cluster(17, 1234, 0.25, "harbour arrivals, reshape", ("a",), (991,), ((991, 2, 0, 5, 93),), 0.81, 9, [], [rare])
_show(Found(clusters=[one, replace(one, cluster_id=-1, stability=float("nan"))]), None)
"""
TREND = """
from investigate.cli.output import print_table
from investigate.cli.trend_rows import LOCAL_COLUMNS, LOCAL_DROP, POINT_COLUMNS, POINT_DROP
point = ["1200-1299", 12, 1400, "12.3 %", "11.1-13.3 %", "12.3 %", "11.1-13.3 %", "100 %"]
print_table(POINT_COLUMNS, [point], right=POINT_COLUMNS, drop=POINT_DROP)
local = ["some-environment", 12, 1400, "12.3 %", "24.1 %", 1200, "+12.3", "1.2e-08"]
print_table(LOCAL_COLUMNS, [local], right=LOCAL_COLUMNS[1:], drop=LOCAL_DROP)
"""


def table_lines(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if not line.startswith("No room for")]


def test_columns_go_in_the_order_that_is_asked_for_and_are_named_in_theirs(on_a_terminal: Callable[..., str]) -> None:
    table = (
        '{"columns": ["name", "claim", "extra", "n", "sure"], "rows": [["a", "b", "c", 100000, "yes"]], '
        '"right": ["n"], "drop": ["extra", "claim", "nosuch"]}'
    )
    wide, narrow, narrower, least = (on_a_terminal(PROGRAM, width, table) for width in (80, 30, 22, 8))
    assert "No room" not in wide
    assert "No room for: extra. A wider terminal" in narrow
    assert "No room for: claim, extra." in narrower
    assert table_lines(narrower)[0].split() == ["name", "n", "sure"]
    assert "No room for: claim, extra, n, sure." in least.replace("\n", "")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_clusters_keep_their_stability_and_where_to_read_them(width: int, on_a_terminal: Callable[..., str]) -> None:
    shown = on_a_terminal(CLUSTERS, width)
    assert max(map(len, table_lines(shown))) <= width
    for kept in ("cluster_id", "stability", "0.81", "label", "e.g."):
        assert kept in shown
    assert re.search(r"991@2\.0", shown)
    left_out = "".join(line for line in shown.splitlines() if line.startswith("No room"))
    assert ("more / less than elsewhere" in left_out) == (width == 60)
    assert ("size" in left_out) != any("size" in line for line in table_lines(shown))
    assert not re.search(r"\bnan\b", shown)


@pytest.mark.parametrize("width", [60, 80, 130])
def test_a_rate_of_a_trend_never_stands_without_its_interval(width: int, on_a_terminal: Callable[..., str]) -> None:
    shown = on_a_terminal(TREND, width)
    assert max(map(len, table_lines(shown))) <= width
    (first, *_), (second, *_) = (
        [line for line in shown.splitlines() if line.split()[:1] == [start]] for start in ("steps", "environment")
    )
    columns = first.split()
    assert {"steps", "n", "standardised", "standardised_interval"} <= {*columns}
    assert "rate_interval" in columns or "rate" not in columns
    assert {"n", "before", "after", "p"} <= {*second.split()}
