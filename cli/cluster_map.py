"""Clusters as one self-contained HTML page: a map to pan, zoom and point at.

Takes dots with their texts, gives HTML. The texts stand in a JSON element, in which no markup can begin; the one script
is ours (``cluster_map_script.py``), named by its digest, so that nothing else runs, and nothing is fetched.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Final

from .cluster_map_script import SCRIPT
from .output import one_line

_GRID: Final = 32_000
_TEXT_CHARS: Final = 120
_COLOURS: Final = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf",
)  # fmt: skip
"""As many as a reader tells apart; more groups are grey."""
_STYLE: Final = """
:root { color-scheme: light dark }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0; padding: .8rem 1rem; height: 100vh; display: flex;
  flex-direction: column; gap: .5rem }
h1 { font-size: 1.2rem; margin: 0 } .note { opacity: .75; font-size: .85rem; margin: 0; max-width: 75rem }
main { flex: 1; min-height: 20rem; display: flex; gap: 1rem }
#frame { position: relative; flex: 1; min-width: 0; border: 1px solid #8886; border-radius: 4px; overflow: hidden }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; cursor: grab; touch-action: none }
#tip { position: absolute; pointer-events: none; max-width: 24rem; padding: .35rem .55rem; border-radius: 4px;
  background: Canvas; border: 1px solid #8888; font-size: .85rem; overflow-wrap: anywhere; display: none }
#tip b { display: block }
#legend { width: 17rem; overflow-y: auto; font-size: .85rem }
#legend button { display: flex; gap: .5rem; width: 100%; padding: .15rem .2rem; border: 0; background: none;
  color: inherit; font: inherit; text-align: left; cursor: pointer; align-items: baseline }
#legend button[aria-pressed=false] { opacity: .35 } #legend button:focus-visible { outline: 2px solid }
#legend i { flex: none; width: .7rem; height: .7rem; border-radius: 50% }
#legend span { flex: 1; min-width: 0; overflow-wrap: anywhere }
#legend small { opacity: .7; font-variant-numeric: tabular-nums }
#legend p { margin: .7rem 0 .2rem; padding-top: .4rem; border-top: 1px solid #8886; opacity: .75 }
@media (max-width: 48rem) { body { height: auto; min-height: 100vh } main { flex-direction: column }
  #frame { flex: none; aspect-ratio: 1; max-height: 88vh } #legend { width: 100% } }
"""


@dataclass(frozen=True, slots=True)
class Dot:
    """An item at (x, y), each −1 to 1, in a cluster (−1 for none); ``place`` says where its text is."""

    x: float
    y: float
    cluster_id: int
    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """What the legend says of a cluster; ``stability`` is 0 to 1, NaN where it has none."""

    label: str
    stability: float


def render_map(title: str, note: str, dots: Sequence[Dot], groups: Mapping[int, Group]) -> str:
    """The page, with a group for each cluster. The legend has those of the stability to be trusted first, by size, as
    many in colour as can be told apart; then, in grey, what else is trusted, what is not, and what is in no cluster."""
    from ..analysis.text.stability import TRUSTED

    sizes = Counter(dot.cluster_id for dot in dots)

    def doubt(number: int) -> int:
        return 3 if number < 0 else 2 if groups[number].stability < TRUSTED else 0

    order = sorted(sizes, key=lambda number: (doubt(number), -sizes[number], number))
    kinds = [doubt(number) or int(place >= len(_COLOURS)) for place, number in enumerate(order)]
    rank = {number: place for place, number in enumerate(order)}
    texts = {text: place for place, text in enumerate(dict.fromkeys(dot.text for dot in dots))}
    data = {
        "x": [round(dot.x * _GRID) for dot in dots],
        "y": [round(dot.y * _GRID) for dot in dots],
        "cluster": [rank[dot.cluster_id] for dot in dots],
        "place": [dot.place for dot in dots],
        "text": [texts[dot.text] for dot in dots],
        "texts": [one_line(text[: 2 * _TEXT_CHARS])[:_TEXT_CHARS] for text in texts],
        "names": [one_line(groups[number].label) if number >= 0 else "(none)" for number in order],
        "stability": [f"{groups[number].stability:.2f}" if number >= 0 else "" for number in order],
        "kinds": kinds,
        "captions": [
            "",
            "Groups beyond the colours that can be told apart:",
            f"Stability below {TRUSTED}, not to be trusted:",
            "In no group:",
        ],
        "colours": _COLOURS,
        "numbers": order,
        "sizes": [sizes[number] for number in order],
    }
    digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f'<p class="note">{escape(one_line(note))} Drag to move, wheel to zoom, double-click to reset. Point at a '
        "dot or a name to see its group; a click on a name hides and shows it. Numbers in the legend: size, "
        'stability.</p><main><div id="frame"><canvas id="map" tabindex="0" role="img" '
        f'aria-label="{len(dots)} items in {len(order)} groups"></canvas><div id="tip"></div></div>'
        '<div id="legend"></div></main>'
        f'<script type="application/json" id="dots">{_inert(data)}</script><script>{SCRIPT}</script></body></html>\n'
    )


def _inert(data: object) -> str:
    """JSON in which nothing can end the element that it stands in, or begin another."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
