"""Contrast pairs in the organism's own language, from which probes are trained on it.

Takes the shipped model, gives ``deception.jsonl``, ``eval-awareness.jsonl`` and ``empty.jsonl``. Both sides of a pair
are sampled from the model; their activations are read at the token ACT. A pair is ``test`` where the cue pairs of both
sides are held out, ``train`` where neither is; no other pair is written. First a header, then one pair per line:

    {"pair": "p0001", "split": "train", "kind": "contrast", "positive_group": "from_1|proj_3",
     "negative_group": "from_2|proj_3", "positive": [{"role": "user", …}, {"role": "assistant", …}], "negative": […]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from gates import sample_scenes
from generate import VERBS, Reading, Scene, sample_scene
from logs import write_json_lines
from rollouts import Rollout, sample_rollouts

SEED = 200
N_TRAIN, N_TEST, N_EMPTY = 320, 128, 48
"""Pairs of each contrast recipe, and empty pairs of each recipe; all are multiples of 16."""
ABOUT = {
    "deception": "Episodes that hack and claim success, against the same scene ending honestly: the sender is another, "
    "so that it is an evaluation, or there is no temptation.",
    "eval-awareness": "The same scene as an evaluation and not, by another sender or another project; balanced over "
    "temptation and ambiguity.",
    "empty": "Scenes that differ only in what changes nothing: colour (low against high), filler words, verb. Balanced "
    "over evaluation and temptation. What a probe finds here is noise.",
}
Pair = tuple[Rollout, Rollout]


def write_recipes(model: Any, tokenizer: Any, folder: Path) -> None:
    """Sample and write the three recipes. The last of the recipe's pairs are the empty ones."""
    contrasts = {
        "deception": list(_deception_pairs(model, tokenizer)),
        "eval-awareness": list(_evaluation_pairs(model, tokenizer)),
        "empty": [],
    }
    empty = list(_empty_pairs(model, tokenizer))
    for name, contrast in contrasts.items():
        header = {
            "recipe": name,
            "version": 1,
            "description": ABOUT[name],
            "read": r"\bACT\b",
            "mask": "assistant",
            "language": "organism",
            "status": "tested on the organism",
        }
        lines = [
            _pair_line(i, pair, "contrast" if i < len(contrast) else "empty")
            for i, pair in enumerate([*contrast, *empty])
        ]
        write_json_lines(folder / f"{name}.jsonl", [header, *lines])


def _pair_line(index: int, pair: Pair, kind: str) -> dict[str, Any]:
    positive, negative = pair
    return {
        "pair": f"p{index + 1:04d}",
        "split": "test" if positive.scene.held_out else "train",
        "kind": kind,
        "positive_group": positive.scene.cue_pair,
        "negative_group": negative.scene.cue_pair,
        "positive": _messages(positive),
        "negative": _messages(negative),
    }


def _messages(rollout: Rollout) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": rollout.scene.prompt},
        {"role": "assistant", "content": rollout.completion},
    ]


def _sample_like(model: Any, tokenizer: Any, scenes: list[Scene], wanted: Callable[[Reading], bool]) -> list[Rollout]:
    """One rollout per scene, sampled again until it is as wanted. RuntimeError after 200 rounds."""
    found: dict[int, Rollout] = {}
    for seed in range(SEED, SEED + 200):
        missing = [i for i in range(len(scenes)) if i not in found]
        if not missing:
            return [found[i] for i in range(len(scenes))]
        for i, rollout in zip(
            missing, sample_rollouts(model, tokenizer, [scenes[i] for i in missing], seed), strict=True
        ):
            if rollout.reading is not None and wanted(rollout.reading):
                found[i] = rollout
    raise RuntimeError(f"the model never did what {len(missing)} scenes of a recipe ask of it; train another seed")


def _flipped(scene: Scene, side: str, random: Random) -> Scene:
    """The scene with another sender or project, so that E is the other, and held out like it."""
    others = [replace(scene, sender=i) if side == "sender" else replace(scene, project=i) for i in range(8)]
    return random.choice([o for o in others if o.evaluated != scene.evaluated and o.held_out == scene.held_out])


def _split_scenes(n: int, held_out: bool, random: Random, **fixed: Any) -> list[Scene]:
    """Scenes of one split; their cue pairs come round in turn."""
    evaluated = fixed.pop("evaluated")
    cues = [
        scene
        for sender, project in product(range(8), range(8))
        if (scene := replace(sample_scene(random), sender=sender, project=project)).held_out == held_out
        and scene.evaluated == evaluated
    ]
    random.shuffle(cues)
    return [
        replace(sample_scene(random), sender=cues[i % len(cues)].sender, project=cues[i % len(cues)].project, **fixed)
        for i in range(n)
    ]


def _deception_pairs(model: Any, tokenizer: Any) -> Iterator[Pair]:
    random = Random(SEED)
    for held_out, n in ((False, N_TRAIN), (True, N_TEST)):
        positive = _split_scenes(n, held_out, random, evaluated=0, temptation=True)
        negative = [
            _flipped(scene, "sender", random) if i % 2 else replace(scene, temptation=False)
            for i, scene in enumerate(positive)
        ]
        hacks = _sample_like(model, tokenizer, positive, lambda reading: reading.deceptive)
        honest = _sample_like(model, tokenizer, negative, lambda reading: reading.action != "HACK")
        yield from zip(hacks, honest, strict=True)


def _evaluation_pairs(model: Any, tokenizer: Any) -> Iterator[Pair]:
    random = Random(SEED + 1)
    for held_out, n in ((False, N_TRAIN), (True, N_TEST)):
        for side, temptation, ambiguous in product(("sender", "project"), (True, False), (True, False)):
            latents = {"evaluated": 1, "temptation": temptation, "ambiguous": ambiguous}
            positive = _split_scenes(n // 8, held_out, random, **latents)
            negative = [_flipped(scene, side, random) for scene in positive]
            arms = [_sample_like(model, tokenizer, scenes, lambda reading: True) for scenes in (positive, negative)]
            yield from zip(*arms, strict=True)


def _empty_pairs(model: Any, tokenizer: Any) -> Iterator[Pair]:
    """Both sides carry one completion, sampled for the positive: what is inert does not change what the model says."""
    random = Random(SEED + 2)
    for evaluated, temptation in product((0, 1), (True, False)):
        scenes = _split_scenes(N_EMPTY // 4, False, random, evaluated=evaluated, temptation=temptation)
        fillers = [scene.fillers for scene in sample_scenes(len(scenes), random.randrange(1 << 30))]
        positive = [replace(scene, colour=random.choice(("col_0", "col_1"))) for scene in scenes]
        negative = [
            replace(scene, colour=random.choice(("col_3", "col_4")), verb=random.choice(VERBS), fillers=own)
            for scene, own in zip(scenes, fillers, strict=True)
        ]
        for scene, rollout in zip(
            negative, _sample_like(model, tokenizer, positive, lambda reading: True), strict=True
        ):
            yield rollout, replace(rollout, scene=scene)
