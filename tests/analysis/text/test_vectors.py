"""Chunk embeddings over a real workspace: each text once, nothing retired, nothing half written, nothing unread."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from investigate.analysis.text.chunks import split_to_fit
from investigate.analysis.text.embed import pending_chars, update_vectors
from investigate.analysis.text.encode import Encoder, load_encoder
from investigate.analysis.text.index import Filters
from investigate.analysis.text.segments import read_segments
from investigate.analysis.text.vectors import ChunkHit, forget_in_vectors, index_name, load_chunks, open_vectors
from investigate.store.compact import compact
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace
from investigate.store.writer import open_writer

Store = Callable[..., None]


def update(workspace: Workspace, encoder: Encoder) -> list[int]:
    with open_writer(workspace) as writer:
        return list(update_vectors(writer, encoder))


def nearest(workspace: Workspace, encoder: Encoder, query: str, limit: int = 10, **filters: object) -> list[ChunkHit]:
    with open_reader(workspace) as reader:
        index = open_vectors(reader, encoder)
        return index.search(encoder.encode([query])[0], Filters(**filters), limit)  # type: ignore[arg-type]


def ids(hits: list[ChunkHit]) -> list[int]:
    return [hit.span.episode_id for hit in hits]


def test_the_closest_come_first(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "red apple")], 2: [("user", "text", "green pear tree")]})
    store({3: [("user", "text", "red apple pie")]})
    assert nearest(workspace, encoder, "red apple") == []
    assert update(workspace, encoder) == [24, 13]
    hits = nearest(workspace, encoder, "red apple")
    assert ids(hits) == [1, 3, 2]
    assert hits[0].similarity == pytest.approx(1, abs=1e-3)
    assert hits[1].similarity == pytest.approx((2 / 3) ** 0.5, abs=1e-3)
    assert (hits[1].span.start, hits[1].span.end) == (0, 13)
    assert update(workspace, encoder) == []


def test_one_hit_a_part(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    text = "\n\n".join(["filler " * 100, "an apple " * 60, "apple"])
    store({1: [("user", "text", text)]})
    update(workspace, encoder)
    (hit,) = nearest(workspace, encoder, "apple")
    assert text[hit.span.start : hit.span.end].endswith("apple")


def test_equal_text_is_encoded_once(workspace: Workspace, store: Store, make_encoder: Callable[..., Encoder]) -> None:
    seen: list[str] = []
    said = [("user", "text", "same"), ("assistant", "text", "same"), ("tool", "media", "never"), ("tool", "text", "")]
    store({1: said, 2: said})
    encoder = make_encoder(seen)
    update(workspace, encoder)
    assert seen == ["same"]
    assert len(nearest(workspace, encoder, "same")) == 4


def test_retired_revisions_are_not_found(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "old words")], 2: [("user", "text", "others")]})
    update(workspace, encoder)
    store({1: [("user", "text", "new words")]}, revision=1)
    assert ids(nearest(workspace, encoder, "old words")) == [2]
    update(workspace, encoder)
    hits = nearest(workspace, encoder, "old words")
    assert sorted(ids(hits)) == [1, 2]
    assert max(hit.similarity for hit in hits) < 0.9


def test_filters(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({n: [("user", "text", "x"), ("assistant", "reasoning", "x"), ("assistant", "text", "x")] for n in (1, 2)})
    update(workspace, encoder)
    assert len(nearest(workspace, encoder, "x")) == 6
    assert len(nearest(workspace, encoder, "x", limit=4)) == 4
    assert ids(nearest(workspace, encoder, "x", kinds=["reasoning"])) == [1, 2]
    (hit,) = nearest(workspace, encoder, "x", kinds=["text"], roles=["assistant"], episode_ids=[2])
    assert (hit.span.episode_id, hit.span.message_index) == (2, 2)
    assert nearest(workspace, encoder, "x", episode_ids=[]) == []


def test_interrupted_it_goes_on_where_it_stopped(
    workspace: Workspace, store: Store, make_encoder: Callable[..., Encoder]
) -> None:
    store({n: [("user", "text", text)] for n, text in enumerate(("first", "second", "third"), 1)})
    seen: list[str] = []
    encoder = replace(make_encoder(seen), piece_parts=1)
    with open_writer(workspace) as writer:
        updating = update_vectors(writer, encoder)
        assert [next(updating), next(updating)] == [5, 6]
        updating.close()
    assert nearest(workspace, encoder, "first") == []
    pending = workspace.index("vectors", index_name(encoder)) / "pending"
    (pending / "half.tmp").write_bytes(b"PK")  # killed while it wrote
    with open_reader(workspace) as reader:
        assert pending_chars(workspace, encoder, reader) == (6, 16)  # a third of it, rounded up
    seen.clear()
    assert update(workspace, encoder) == [5]
    assert seen == ["third"]
    assert ids(nearest(workspace, encoder, "first")) == [1, 2, 3]
    assert not pending.exists()
    with open_reader(workspace) as reader:
        assert pending_chars(workspace, encoder, reader) == (0, 16)


def test_killed_between_the_segment_and_the_catalog(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "first")]})
    update(workspace, encoder)
    with open_writer(workspace) as writer:
        writer.forget_index(index_name(encoder))
    assert update(workspace, encoder) == []
    with open_reader(workspace) as reader:
        assert len(load_chunks(reader, encoder).rows["vector"]) == 1


def test_killed_between_the_lists_and_merged_since(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    for n in range(1, 5):
        store({n: [("user", "text", f"apple number {n}")]})
    update(workspace, encoder)
    with open_writer(workspace) as writer:
        writer.forget_index(index_name(encoder))
        assert compact(writer, max_small=1) > 0
    update(workspace, encoder)
    with open_reader(workspace) as reader:
        assert sorted(load_chunks(reader, encoder).rows["episode_id"].tolist()) == [1, 2, 3, 4]


def test_what_a_killed_writer_left_behind_goes(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    """Arrays in no list, also of what was forgotten."""
    store({1: [("user", "text", "a secret")], 2: [("user", "text", "an apple")]})
    update(workspace, encoder)
    folder = workspace.index("vectors", index_name(encoder))
    for change in (lambda: update(workspace, encoder), lambda: forget_in_vectors(workspace, [9])):
        (folder / f"{'0' * 32}.texts.npy").write_bytes(b"half")
        change()
        assert len(list(folder.glob("*.npy"))) == 3
    assert ids(nearest(workspace, encoder, "a secret")) == [1, 2]


def test_little_text_among_many_empty_parts_is_pending(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "ab"), *[("tool", "text", "")] * 20]})
    with open_reader(workspace) as reader:
        assert pending_chars(workspace, encoder, reader) == (2, 2)
    update(workspace, encoder)
    store({2: [("user", "text", "")]})
    with open_reader(workspace) as reader:
        assert pending_chars(workspace, encoder, reader) == (1, 2)


def test_without_its_folder_it_is_made_anew(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "first")]})
    update(workspace, encoder)
    shutil.rmtree(workspace.index("vectors"))
    assert nearest(workspace, encoder, "first") == []
    assert update(workspace, encoder) == [5]
    assert ids(nearest(workspace, encoder, "first")) == [1]


def test_merged_shards_are_not_encoded_again(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    for n in range(1, 5):
        store({n: [("user", "text", f"apple number {n}")]})
    update(workspace, encoder)
    with open_writer(workspace) as writer:
        assert compact(writer, max_small=1) > 0
    with open_reader(workspace) as reader:
        assert len(reader.shards("parts")) == 1
        assert pending_chars(workspace, encoder, reader)[0] == 0
    assert update(workspace, encoder) == []
    assert sorted(ids(nearest(workspace, encoder, "apple"))) == [1, 2, 3, 4]


def test_small_segments_become_one(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    for n in range(1, 21):
        store({n: [("user", "text", f"apple {n}"), ("tool", "text", "the same")]})
        update(workspace, encoder)
    folder = workspace.index("vectors", index_name(encoder))
    segments = read_segments(folder)
    assert len(segments) < 20
    assert len(list(folder.glob("*.npy"))) == 3 * len(segments)
    assert sorted(ids(nearest(workspace, encoder, "apple", 20, roles=["user"]))) == list(range(1, 21))
    hits = nearest(workspace, encoder, "the same", 20, roles=["tool"])
    assert sorted(ids(hits)) == list(range(1, 21))
    assert min(hit.similarity for hit in hits) == pytest.approx(1, abs=1e-3)


def test_a_text_of_an_earlier_shard_is_not_encoded_again(
    workspace: Workspace, store: Store, make_encoder: Callable[..., Encoder]
) -> None:
    seen: list[str] = []
    encoder = make_encoder(seen)
    for n in (1, 2):
        store({n: [("user", "text", "the same"), ("tool", "text", f"apple {n}")]})
        update(workspace, encoder)
    assert seen == ["the same", "apple 1", "apple 2"]
    hits = nearest(workspace, encoder, "the same", 2)
    assert (ids(hits), hits[1].similarity) == ([1, 2], pytest.approx(1, abs=1e-3))


def test_what_is_forgotten_leaves_the_disk(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "a secret")], 2: [("user", "text", "an apple"), ("tool", "text", "a pear")]})
    update(workspace, encoder)
    forget_in_vectors(workspace, [1])
    (segment,) = read_segments(workspace.index("vectors", index_name(encoder)))
    assert (segment.rows.shape[1], len(segment.vectors), len(segment.texts)) == (2, 2, 2)
    hits = nearest(workspace, encoder, "an apple")
    assert (ids(hits), hits[0].span.message_index) == ([2, 2], 0)
    assert hits[0].similarity == pytest.approx(1, abs=1e-3)


def test_other_weights_have_other_vectors(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "words")]})
    update(workspace, encoder)
    assert nearest(workspace, replace(encoder, fingerprint="1" * 64), "words") == []


def test_what_an_encoder_cannot_read_whole_is_split(
    workspace: Workspace, store: Store, make_encoder: Callable[..., Encoder]
) -> None:
    seen: list[str] = []
    encoder = make_encoder(seen, fits=lambda text: len(text) <= 50)
    text = " ".join(f"word{i}" for i in range(90)) + "   \n volcano"
    store({1: [("user", "text", text)]})
    update(workspace, encoder)
    assert max(map(len, seen)) <= 50
    assert "".join("".join(seen).split()) == "".join(text.split())
    (hit,) = nearest(workspace, encoder, "volcano")
    assert "volcano" in text[hit.span.start : hit.span.end]
    assert hit.similarity > 0.3


def test_split_to_fit_ends_where_nothing_fits() -> None:
    spans = split_to_fit(["ab c", "x"], lambda texts: [False] * len(texts))
    assert spans == {"ab c": [(0, 1), (1, 2), (3, 4)], "x": [(0, 1)]}


def test_the_tail_of_a_dense_chunk_is_found(workspace: Workspace, store: Store) -> None:
    encoder = load_encoder("minilm")
    if encoder is None:
        pytest.skip("needs the extra `offline`")
    numbers = random.Random(0)
    rows = [{"id": f"{numbers.getrandbits(32):08x}", "n": numbers.randrange(10**6), "ok": True} for _ in range(20)]
    dense = json.dumps(rows, separators=(",", ":"))[:740]
    text = f"{dense} the volcano erupted over the harbour town"
    assert encoder.fits([dense, "the volcano erupted"]) == [False, True]
    store({1: [("tool", "tool_result", text)]})
    update(workspace, encoder)
    (hit,) = nearest(workspace, encoder, "volcano eruption")
    assert hit.similarity > 0.3
    assert "volcano erupted" in text[hit.span.start : hit.span.end]
    with open_reader(workspace) as reader:
        chunks = load_chunks(reader, encoder)
    spans = zip(chunks.rows["start"], chunks.rows["end"], strict=True)
    assert all(encoder.fits([text[start:end] for start, end in spans]))
    assert np.allclose(np.linalg.norm(chunks.vectors.astype(np.float32), axis=1), 1, atol=1e-2)
