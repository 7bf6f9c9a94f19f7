"""The script of the map of clusters (``cluster_map.py``): it draws dots on a canvas and writes text as text.

No library, no network, no markup from data: every string goes through ``textContent``.
"""

from __future__ import annotations

from typing import Final

SCRIPT: Final = """
"use strict";
const dots = JSON.parse(document.getElementById("dots").textContent);
const n = dots.x.length, grid = 32000;
const canvas = document.getElementById("map"), tip = document.getElementById("tip");
const pen = canvas.getContext("2d"), hidden = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");
let scale = 1, left = 0, top_ = 0, side = 1, queued = false, drag = null, marked = -1;

// Dots by cluster, so that each colour is set once; and in cells, so that what is near the pointer is found at once.
const members = dots.names.map(() => []);
for (let i = 0; i < n; i++) members[dots.cluster[i]].push(i);
const cells = 128, cell = new Map();
const cellOf = (v) => Math.max(0, Math.min(cells - 1, Math.floor((v + grid) / (2 * grid) * cells)));
for (let i = 0; i < n; i++) {
  const key = cellOf(dots.x[i]) * cells + cellOf(dots.y[i]);
  if (!cell.has(key)) cell.set(key, []);
  cell.get(key).push(i);
}

// What has no colour of its own: beyond the colours, not to be trusted, in no group.
const greys = () => dark.matches ? ["#b4b4b4", "#858585", "#555"] : ["#6b6b6b", "#a3a3a3", "#cfcfcf"];
const colour = (group) => dots.kinds[group] ? greys()[dots.kinds[group] - 1] : dots.colours[group];
const toX = (v) => left + (v / grid + 1) / 2 * side * scale;
const toY = (v) => top_ + (1 - v / grid) / 2 * side * scale;

function fit() {
  const box = canvas.getBoundingClientRect();
  side = Math.min(box.width, box.height) - 24;
  scale = 1; left = (box.width - side) / 2; top_ = (box.height - side) / 2;
}
function draw() {
  queued = false;
  const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  canvas.width = box.width * ratio; canvas.height = box.height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const size = Math.max(1.2, Math.min(7, 60 / Math.sqrt(n) * Math.sqrt(scale) + 1));
  for (let group = members.length - 1; group >= 0; group--)
    if (group !== marked) drawGroup(group, colour(group), marked < 0 ? 0.8 : 0.25, size, box);
  const strong = dark.matches ? "#fff" : "#000";
  if (marked >= 0) drawGroup(marked, dots.kinds[marked] ? strong : colour(marked), 1, size, box);
}
function drawGroup(group, ink, alpha, size, box) {
  if (hidden.has(group)) return;
  pen.fillStyle = ink; pen.globalAlpha = alpha;
  for (const i of members[group]) {
    const x = toX(dots.x[i]), y = toY(dots.y[i]);
    if (x < -9 || y < -9 || x > box.width + 9 || y > box.height + 9) continue;
    if (size < 3) pen.fillRect(x - size / 2, y - size / 2, size, size);
    else { pen.beginPath(); pen.arc(x, y, size / 2, 0, 6.2832); pen.fill(); }
  }
}
function mark(group) { if (group !== marked) { marked = group; redraw(); } }
function redraw() { if (!queued) { queued = true; requestAnimationFrame(draw); } }

function nearest(x, y) {
  const gx = ((x - left) / (side * scale) * 2 - 1) * grid, gy = (1 - (y - top_) / (side * scale) * 2) * grid;
  const reach = 12 / (side * scale) * 2 * grid;
  let best = -1, least = reach * reach;
  for (let a = cellOf(gx - reach); a <= cellOf(gx + reach); a++)
    for (let b = cellOf(gy - reach); b <= cellOf(gy + reach); b++)
      for (const i of cell.get(a * cells + b) || []) {
        if (hidden.has(dots.cluster[i])) continue;
        const d = (dots.x[i] - gx) ** 2 + (dots.y[i] - gy) ** 2;
        if (d < least) { least = d; best = i; }
      }
  return best;
}
function name(group) {
  const number = dots.numbers[group];
  return number < 0 ? "(none)" : `${number}: ${dots.names[group]}`;
}
function show(x, y) {
  const i = nearest(x, y);
  tip.style.display = i < 0 ? "none" : "block";
  mark(i < 0 || dots.kinds[dots.cluster[i]] === 3 ? -1 : dots.cluster[i]);
  if (i < 0) return;
  const head = document.createElement("b");
  head.textContent = `${dots.place[i]} · ${name(dots.cluster[i])}`;
  tip.replaceChildren(head, dots.texts[dots.text[i]]);
  const box = canvas.getBoundingClientRect();
  tip.style.left = Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth - 4)) + "px";
  tip.style.top = Math.max(0, Math.min(y + 14, box.height - tip.offsetHeight - 4)) + "px";
}
function zoom(x, y, factor) {
  const next = Math.max(0.5, Math.min(400, scale * factor)), by = next / scale;
  left = x - (x - left) * by; top_ = y - (y - top_) * by; scale = next;
  redraw();
}
canvas.addEventListener("wheel", (e) => {
  e.preventDefault(); zoom(e.offsetX, e.offsetY, Math.exp(-e.deltaY / 400));
}, { passive: false });
canvas.addEventListener("pointerdown", (e) => {
  drag = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId);
});
canvas.addEventListener("pointerup", () => { drag = null; });
canvas.addEventListener("pointercancel", () => { drag = null; });
canvas.addEventListener("pointermove", (e) => {
  if (drag) {
    left += e.clientX - drag[0]; top_ += e.clientY - drag[1]; drag = [e.clientX, e.clientY];
    tip.style.display = "none"; redraw();
  } else show(e.offsetX, e.offsetY);
});
canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; mark(-1); });
canvas.addEventListener("dblclick", () => { fit(); redraw(); });
canvas.addEventListener("keydown", (e) => {
  const box = canvas.getBoundingClientRect(), step = 40;
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (e.key === "+" || e.key === "-") zoom(box.width / 2, box.height / 2, e.key === "+" ? 1.3 : 1 / 1.3);
  else if (e.key === "0") { fit(); redraw(); }
  else if (moves[e.key]) { left += moves[e.key][0]; top_ += moves[e.key][1]; redraw(); }
  else return;
  e.preventDefault();
});

const legend = document.getElementById("legend"), swatches = [];
dots.names.forEach((_, group) => {
  if (dots.kinds[group] && dots.kinds[group] !== dots.kinds[group - 1]) {
    const caption = document.createElement("p");
    caption.textContent = dots.captions[dots.kinds[group]];
    legend.append(caption);
  }
  const button = document.createElement("button"), swatch = document.createElement("i");
  const label = document.createElement("span"), count = document.createElement("small");
  label.textContent = name(group);
  count.textContent = [dots.sizes[group].toLocaleString("en"), dots.stability[group]].filter(Boolean).join(" · ");
  swatches.push(swatch);
  button.setAttribute("aria-pressed", "true");
  button.append(swatch, label, count);
  button.addEventListener("click", () => {
    if (!hidden.delete(group)) hidden.add(group);
    button.setAttribute("aria-pressed", String(!hidden.has(group))); redraw();
  });
  for (const on of ["pointerenter", "focus"]) button.addEventListener(on, () => mark(group));
  for (const off of ["pointerleave", "blur"]) button.addEventListener(off, () => mark(-1));
  legend.append(button);
});
function paint() { swatches.forEach((swatch, group) => { swatch.style.background = colour(group); }); redraw(); }
dark.addEventListener("change", paint);
addEventListener("resize", () => { fit(); redraw(); });
fit(); paint();
"""
