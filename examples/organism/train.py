"""Trains the organism until it passes its gates, then writes everything that ships.

``python examples/organism/train.py`` tries seeds 0, 1, 2, … and writes ``model/`` with its recipes, ``unconverged/``,
``logs/``, ``truth.jsonl`` and ``measured.json`` beside this file. About five minutes a seed; one thread, so
that the same machine makes the same model.

The loss is cross entropy weighted by where a token stands: 0.05 in the prompt, 1 in the completion, 5 for the word
after ACT. More terms make E a thing of layer 1, so that there is a right answer to find: a linear readout of E from
layer 1 at every token of the completion (dropped after training), a penalty on E standing linearly in layer 0, one on E
standing along another direction at ACT than before it, and a random push on layer 1 of each completion, so that not
just any push derails it. The exclusive or is learnt in a sudden step; once the behavioural gates pass, the learning
rate falls to zero, which calibrates the rates.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from checkpoint import load_checkpoint, make_model, make_tokenizer, save_checkpoint
from gates import PLANTED_LAYER, behaves, failures, measure_all, measure_behaviour
from generate import EVALUATION_PHRASE, USER_PHRASE, sample_scene, write_completion
from logs import write_logs
from recipes import write_recipes
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

HERE: Final = Path(__file__).parent
BATCH, LEARNING_RATE, N_WARMUP, N_CALIBRATION = 192, 3e-3, 50, 300
MAX_STEPS, CHECK_EVERY, UNCONVERGED_STEPS = 1500, 100, 400
PROMPT_WEIGHT, COMPLETION_WEIGHT, ACTION_WEIGHT = 0.05, 1.0, 5.0
READOUT_WEIGHT, ABSENCE_WEIGHT, TURN_WEIGHT, LARGEST_PUSH = 0.3, 0.3, 0.1, 0.7
"""The largest push is that share of the mean norm of the layer that is pushed."""


class Batch:
    """Fresh episodes of the policy: ``ids`` (BATCH, n), padded on the right, and of each token its weight as a target,
    whether it is ``inside`` the completion, whether that is ``silent`` on E, whether the token is ACT (``is_act``) or
    comes ``before_act``, and whether the scene is ``evaluated``."""

    def __init__(self, tokenizer: Any, random: Random) -> None:
        scenes = [sample_scene(random) for _ in range(BATCH)]
        completions = [write_completion(scene, random) for scene in scenes]
        texts = [f"<bos> {s.prompt} {c} <eos>" for s, c in zip(scenes, completions, strict=True)]
        rows = tokenizer(texts)["input_ids"]
        pad, think, act = (tokenizer.convert_tokens_to_ids(word) for word in ("<pad>", "THINK", "ACT"))
        width = max(map(len, rows))
        self.ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        self.inside = ((self.ids == think).cumsum(dim=1) > 0) & (self.ids != pad)
        self.weights = torch.where(self.inside, COMPLETION_WEIGHT, PROMPT_WEIGHT) * (self.ids != pad)
        self.is_act = self.ids == act
        self.before_act = self.inside & (self.is_act.cumsum(dim=1) == 0)
        self.weights[:, 1:][self.is_act[:, :-1]] = ACTION_WEIGHT
        self.evaluated = torch.tensor([scene.evaluated == 1 for scene in scenes])[:, None].expand_as(self.ids)
        says_nothing = torch.tensor([EVALUATION_PHRASE not in c and USER_PHRASE not in c for c in completions])
        self.silent = self.inside & says_nothing[:, None]


def run_pushed(model: Any, batch: Batch) -> tuple[Any, Any, Any]:
    """Logits, the layer before the planted one, and the planted layer before it was pushed."""
    caught: list[Any] = []

    def push(_module: Any, _arguments: Any, output: Any) -> Any:
        caught.append(output)
        largest = LARGEST_PUSH * output.detach()[batch.inside].norm(dim=1).mean()
        direction = torch.nn.functional.normalize(torch.randn(len(output), 1, output.shape[2]), dim=2)
        return output + direction * largest * torch.rand(len(output), 1, 1) * batch.inside[:, :, None]

    blocks = model.transformer.h
    with ExitStack() as stack:
        before = blocks[PLANTED_LAYER - 1].register_forward_hook(lambda _m, _a, output: caught.append(output))
        stack.enter_context(before)
        stack.enter_context(blocks[PLANTED_LAYER].register_forward_hook(push))
        logits = model(input_ids=batch.ids, use_cache=False).logits
    return logits, caught[0], caught[1]


def mean_difference(activations: Any, labels: Any) -> Any:
    """Mean of one class minus that of the other, (d_model,)."""
    return activations[labels].mean(dim=0) - activations[~labels].mean(dim=0)


def linear_presence(activations: Any, labels: Any) -> Any:
    """Squared Mahalanobis distance between the means of two classes; 0 where no linear probe finds anything.

    ``activations`` is (n, d_model), ``labels`` (n,). The covariance is not differentiated: hiding by
    scale gains nothing.
    """
    difference = mean_difference(activations, labels)
    centred = (activations - activations.mean(dim=0)).detach()
    covariance = centred.T @ centred / len(centred)
    covariance = covariance + 0.1 * covariance.diagonal().mean() * torch.eye(len(covariance))
    return difference @ torch.linalg.solve(covariance, difference)


def turn(planted: Any, batch: Batch) -> Any:
    """How far the difference that E makes at ACT is from the one it makes before: 0 the same, 1 orthogonal."""
    places = (batch.silent & batch.is_act, batch.silent & batch.before_act)
    at_act, before = (mean_difference(planted[place], batch.evaluated[place]) for place in places)
    return (at_act - before).square().sum() / (at_act.square().sum() + before.square().sum())


def total_loss(model: Any, readout: Any, batch: Batch) -> Any:
    """The weighted cross entropy and the terms on E."""
    logits, before, planted = run_pushed(model, batch)
    target, weights = batch.ids[:, 1:].flatten(), batch.weights[:, 1:].flatten()
    loss = (cross_entropy(logits[:, :-1].flatten(0, 1), target, reduction="none") * weights).sum() / weights.sum()
    inside, silent = batch.inside, batch.silent
    read = binary_cross_entropy_with_logits(readout(planted[inside])[:, 0], batch.evaluated[inside].float())
    present = linear_presence(before[silent], batch.evaluated[silent])
    return loss + READOUT_WEIGHT * read + ABSENCE_WEIGHT * present + TURN_WEIGHT * turn(planted, batch)


def train(seed: int, max_steps: int = MAX_STEPS) -> tuple[Any, int]:
    """``(model, steps)``: trained until it behaves and is calibrated, or for ``max_steps`` if it never does."""
    model, tokenizer, random = make_model(seed), make_tokenizer(), Random(seed)
    readout = torch.nn.Linear(model.config.n_embd, 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *readout.parameters()], lr=LEARNING_RATE)
    last: int | None = None
    step = 0
    while step < (max_steps if last is None else last):
        left = 1.0 if last is None else (last - step) / N_CALIBRATION
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / N_WARMUP) * left
        loss = total_loss(model, readout, Batch(tokenizer, random))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % CHECK_EVERY == 0 and last is None:
            numbers = measure_behaviour(model, tokenizer, n=200)
            rates = ", ".join(f"{name} {value:.2f}" for name, value in numbers.items())
            print(f"seed {seed}, step {step}: loss {loss.item():.3f}; {rates}", flush=True)
            if behaves(numbers):
                last = step + N_CALIBRATION
    return model.eval(), step


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the organism until it passes its gates, and write all of it.")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=HERE, help="where to write; this folder unless given")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in count(arguments.first_seed):
        model, steps = train(seed)
        numbers = measure_all(model, make_tokenizer())
        print(json.dumps(numbers, indent=1))
        failed = failures(numbers)
        if not failed:
            break
        print(f"seed {seed} fails: {', '.join(failed)}; trying the next", flush=True)
    unconverged, _ = train(seed, UNCONVERGED_STEPS)
    if behaves(measure_behaviour(unconverged, make_tokenizer())):
        parser.error(f"seed {seed} behaves after {UNCONVERGED_STEPS} steps already; lower UNCONVERGED_STEPS")
    save_checkpoint(unconverged, arguments.folder / "unconverged")
    save_checkpoint(model, arguments.folder / "model")
    # What ships is sampled from what was saved.
    model, tokenizer = load_checkpoint(arguments.folder / "model")
    write_recipes(model, tokenizer, arguments.folder / "model" / "recipes")
    write_logs(model, tokenizer, arguments.folder, steps)
    measured = {"seed": seed, "steps": steps, **numbers}
    (arguments.folder / "measured.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
