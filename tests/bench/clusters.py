"""Clusters of labelled transcripts, beside BERTopic's defaults on the same vectors in the same run; and how time grows.

    python tests/bench/clusters.py --peers PYTHON [--logs shared/transcripts] [--sizes 1000,10000,100000] [--algorithms]

Takes the shared transcripts and a python that has bertopic; says, per family, the adjusted Rand index and adjusted
mutual information of the labels with the truth (noise is one more group; where `investigate` says that there are no
groups, all is noise), and seconds in process and of the whole process. Ours has names and medoids in it, BERTopic's its
topics; the stability, which BERTopic does not give, stands apart. Vectors are MiniLM's of the first 1,000 characters of
an episode, at most 50 episodes of a label and 800 in all, equal texts once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CHARS, PER_LABEL, MOST = 1_000, 50, 800
FAMILIES = {
    "lie-detector": ("lie-detector", "format = 'lie_detector'", "environment", "assistant"),
    "tau2-bench": ("tau2-bench", "format = 'tau2_bench'", "environment", "assistant"),
    "reasoning-gym": ("reasoning-gym-training", "format = 'reasoning_gym'", "environment", "user"),
    "reasoning-gym, answers": ("reasoning-gym-training", "format = 'reasoning_gym'", "environment", "assistant"),
    "sandbagging, topic": ("sandbagging-agents", "environment = 'advice'", "split_part(task_id, '-', 1)", "assistant"),
    "sandbagging, task": ("sandbagging-agents", "environment = 'advice'", "task_id", "assistant"),
    "lcb, task": ("tinker-reward-hacking", "environment = 'lcb_oneoff_canmod_minimal'", "task_id", "assistant"),
    "every environment": ("", "true", "format || ':' || environment", "assistant"),
    "cot-monitor, task": ("cot-monitor-stress-test", "environment = 'cot_monitor_setting4'", "task_id", "assistant"),
}
BERTOPIC = """
import json, sys, time, warnings
began = time.perf_counter()
warnings.simplefilter("ignore")
import numpy as np
from bertopic import BERTopic
print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
for path in sys.argv[1:]:
    given = np.load(path)
    began = time.perf_counter()
    labels, _ = BERTopic(embedding_model=None).fit_transform([str(text) for text in given["texts"]], given["vectors"])
    print(json.dumps({"seconds": time.perf_counter() - began, "labels": [int(x) for x in labels]}), flush=True)
"""


def ours(paths: list[str], algorithm: str) -> None:
    """What a process of ours does: clusters, names, medoids, stability of each file."""
    began = time.perf_counter()
    from investigate.analysis.text.clusters import cluster_vectors, representatives
    from investigate.analysis.text.grouping import get_algorithm
    from investigate.analysis.text.stability import stability
    from investigate.analysis.text.topics import name_clusters

    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    for path in paths:
        given = np.load(path)
        began = time.perf_counter()
        vectors = given["vectors"]
        found = cluster_vectors(vectors, algorithm=algorithm)
        name_clusters([str(text) for text in given["texts"]], found.labels)
        representatives(vectors, found.labels)
        seconds, began = time.perf_counter() - began, time.perf_counter()
        steady = stability(
            vectors, found.labels, min_cluster_size=found.size, algorithm=get_algorithm(algorithm)
        )  # fmt: skip
        labels = np.full(len(vectors), -1) if found.collapse else found.labels
        said = {"labels": labels.tolist(), "stability": float(np.mean([*steady.values()] or [0.0]))}
        said |= {"seconds": seconds, "stability_seconds": time.perf_counter() - began}
        print(json.dumps(said), flush=True)


def measured(command: list[str]) -> tuple[list[dict[str, Any]], float]:
    """What a process printed, and its seconds from start to end."""
    began = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines, time.perf_counter() - began


def our_command(paths: list[str], algorithm: str) -> list[str]:
    return [sys.executable, __file__, "--ours", algorithm, *paths]


def select_family(workspace: Path, where: str, label: str, role: str) -> list[dict[str, Any]]:
    """Distinct texts with their label, without labels that fewer than eight have."""
    from investigate.store.reader import open_reader
    from investigate.store.workspace import open_workspace

    with open_reader(open_workspace(workspace)) as reader:
        return reader.rows(
            f"""WITH chosen AS (SELECT episode_id, {label} AS label FROM episodes
                                WHERE duplicate_of IS NULL AND environment IS NOT NULL AND {where}),
                texts AS (SELECT episode_id, any_value(label) AS label,
                                 left(string_agg(left(text, {CHARS}), chr(10) ORDER BY message_index, part_index),
                                      {CHARS}) AS text
                          FROM parts JOIN chosen USING (episode_id)
                          WHERE role = '{role}' AND kind IN ('text', 'reasoning') GROUP BY 1),
                once AS (SELECT min(episode_id) AS episode_id, min(label) AS label, text FROM texts
                         WHERE length(trim(text)) > 20 GROUP BY text),
                placed AS (SELECT *, row_number() OVER (PARTITION BY label ORDER BY hash(text), text) AS place,
                                  count(*) OVER (PARTITION BY label) AS size FROM once)
                SELECT label, text FROM placed WHERE size >= 8 AND place <= {PER_LABEL} ORDER BY hash(text), text
                LIMIT {MOST}"""
        )


def families(logs: Path, kept: Path) -> dict[str, tuple[Path, np.ndarray]]:
    """The vectors of every family in a file, and its labels; those that an earlier run kept are taken as they are."""
    from investigate.analysis.text.encode import load_encoder

    paths = {name: kept / f"{name.replace(', ', '-')}.npz" for name in FAMILIES}
    missing = [name for name, path in paths.items() if not path.exists()]
    if missing:
        kept.mkdir(parents=True, exist_ok=True)
        script = Path(sys.executable).with_name("investigate")
        sources = [str(logs / name) for name in dict.fromkeys(FAMILIES[name][0] for name in missing)]
        with tempfile.TemporaryDirectory() as folder:
            workspace = Path(folder) / "w"
            command = [str(script), "ingest", "--no-index", "-w", str(workspace), *sources]
            subprocess.run(command, check=True, capture_output=True)
            rows_of = {name: select_family(workspace, *FAMILIES[name][1:]) for name in missing}
        encoder = load_encoder("minilm")
        assert encoder is not None
        for name, rows in rows_of.items():
            texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
            began = time.perf_counter()
            vectors = encoder.encode(texts)
            np.savez(paths[name], vectors=vectors, texts=np.array(texts), labels=np.array(labels))
            print(f"{name}: {len(texts)} texts encoded in {time.perf_counter() - began:.1f} s", flush=True)
    return {name: (path, np.load(path)["labels"]) for name, path in paths.items()}


def score(truth: np.ndarray, labels: list[int]) -> str:
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    found = np.array(labels)
    numbers = adjusted_rand_score(truth, found), adjusted_mutual_info_score(truth, found)
    groups = f"{found.max(initial=-1) + 1} groups, {(found < 0).mean():.0%} noise"
    return f"ARI {numbers[0]:.3f}  AMI {numbers[1]:.3f}  {groups}"


def versus(found: dict[str, tuple[Path, np.ndarray]], peers: str | None, algorithms: list[str]) -> None:
    paths = [str(path) for path, _ in found.values()]
    commands = {f"ours, {algorithm}": our_command(paths, algorithm) for algorithm in algorithms}
    if peers is not None:
        commands["BERTopic"] = [peers, "-c", BERTOPIC, *paths]
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    for who, command in commands.items():
        (start, *lines), whole = measured(command)
        for (name, (_, truth)), line in zip(found.items(), lines, strict=True):
            n = f"{len(truth)} texts, {len(set(truth))} labels"
            print(f"{who:20} {name:24} {n:24} {score(truth, line['labels'])}  {line['seconds']:.2f} s")
        pairs = [(truth, line["labels"]) for (_, truth), line in zip(found.values(), lines, strict=True)]
        rand, mutual = (
            np.mean([measure(*pair) for pair in pairs]) for measure in (adjusted_rand_score, adjusted_mutual_info_score)
        )
        within, beside = (sum(line.get(name, 0) for line in lines) for name in ("seconds", "stability_seconds"))
        print(f"{who:20} mean of {len(pairs)}: ARI {rand:.3f}  AMI {mutual:.3f}; {within:.1f} s in process, "
              f"stability {beside:.1f} s, imports {start['seconds']:.1f} s, all {whole:.1f} s", flush=True)  # fmt: skip


def planted(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 256) of unequal clusters in a shared space of 40 dimensions, three tenths of them in none."""
    generator = np.random.default_rng(n)
    k = max(5, int(n**0.5 / 3))
    truth = generator.choice(k, n, p=generator.dirichlet(np.full(k, 0.7)))
    space = generator.normal(size=(40, 256)) / np.sqrt(40)
    vectors = (generator.normal(size=(k, 40)) @ space)[truth]
    alone = generator.random(n) < 0.3
    vectors[alone] = generator.normal(size=(int(alone.sum()), 40)) @ space
    vectors += 0.9 * generator.normal(size=vectors.shape) * np.where(alone[:, None], 1.0, np.exp(-np.arange(256) / 80))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16), np.where(alone, -1, truth)


def scale(sizes: list[int], algorithms: list[str], folder: Path) -> None:
    for n in sizes:
        vectors, truth = planted(n)
        path = folder / f"planted-{n}.npz"
        np.savez(path, vectors=vectors, texts=np.array(["planted words"] * n))
        for algorithm in algorithms:
            (_, line), whole = measured(our_command([str(path)], algorithm))
            seconds = f"{line['seconds']:.1f} s and {line['stability_seconds']:.1f} s"
            print(f"{n:>7,} x 256, {algorithm:12} {score(truth, line['labels'])}, stability {line['stability']:.2f}; "
                  f"{seconds} in process, whole {whole:.1f} s", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", help="a python that has bertopic")
    parser.add_argument("--logs", type=Path, default=ROOT.parent / "shared" / "transcripts")
    parser.add_argument("--sizes", default="1000,10000,100000", help="numbers of planted vectors; empty for none")
    parser.add_argument("--keep", type=Path, help="a folder for the vectors of the families, for another run")
    parser.add_argument("--no-families", action="store_true", help="planted vectors only")
    parser.add_argument("--algorithms", default="hdbscan", help="hdbscan, fast-hdbscan, evoc; separated by commas")
    parser.add_argument("--ours", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        ours(options.ours[1:], options.ours[0])
        return
    algorithms = options.algorithms.split(",")
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if not options.no_families:
            versus(families(options.logs, options.keep or Path(folder)), options.peers, algorithms)
        scale([int(n) for n in options.sizes.split(",") if n], algorithms, Path(folder))


if __name__ == "__main__":
    main()
