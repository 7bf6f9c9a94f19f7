"""What is compressed, a member of an archive or elsewhere is read as if it lay there plain."""

from __future__ import annotations

import gzip
import json
import resource
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from investigate.ingest.files import Named, members, walk
from investigate.ingest.format import Source
from investigate.ingest.run import ingest
from investigate.ingest.unpack import head_of, is_packed, members_of, plain, plain_name
from investigate.store.compute import Engine
from investigate.store.errors import InputError
from investigate.store.reader import open_reader
from investigate.store.workspace import create_workspace
from investigate.store.writer import open_writer

LINES = [
    json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"a{i % 40}"}]})
    for i in range(60)
]
RAW = ("\r\n".join([*LINES[:30], "{torn", "", *LINES[30:]]) + '\n{"messa').encode()


def zst(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(raw)


def streamed(raw: bytes) -> bytes:
    """Without the size in the header, with a checksum."""
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return packer.compress(raw) + packer.flush()


SKIPPABLE = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "gz in two members": lambda raw: gzip.compress(raw[:100]) + gzip.compress(raw[100:]),
    "zst": zst,
    "zst streamed": streamed,
    "zst in frames": lambda raw: SKIPPABLE + zst(raw[:100]) + streamed(raw[100:]) + SKIPPABLE,
    "zst in gz": lambda raw: gzip.compress(zst(raw)),
    "gz in gz in zst": lambda raw: zst(gzip.compress(gzip.compress(raw))),
}


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a temporary copy behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def packed(tmp_path: Path, packer: str, raw: bytes = RAW, name: str = "a.jsonl.gz") -> Source:
    path = tmp_path / name
    path.write_bytes(PACKERS[packer](raw))
    return Source(path, str(path), end=path.stat().st_size)


@pytest.mark.parametrize("packer", PACKERS)
def test_it_is_the_same_source_with_its_bytes_unpacked(packer: str, tmp_path: Path) -> None:
    source = packed(tmp_path, packer)
    assert is_packed(source)
    assert head_of(source, 50) == RAW[:50]
    with plain(source) as unpacked:
        assert unpacked.path.read_bytes() == RAW
        assert unpacked.path.suffix == ".jsonl"
        assert (unpacked.name, unpacked.original, unpacked.end) == (source.name, source.path, None)
        assert unpacked.folder == tmp_path
        assert not is_packed(unpacked)
        copy = unpacked.path
    assert not copy.exists()


def test_what_is_plain_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(RAW)
    source = Source(path, str(path))
    assert not is_packed(source)
    with plain(source) as same:
        assert same is source


def test_the_name_of_what_is_inside() -> None:
    names = {"a/run.jsonl.gz": "a/run.jsonl", "x.ZST": "x", "x.json.gz.zstd": "x.json", "x.zip": "x.zip", "gz": "gz"}
    assert {name: str(plain_name(Path(name))) for name in names} == names


@pytest.mark.parametrize("packer", ["gz", "zst", "zst streamed", "zst in gz"])
def test_cut_anywhere_it_does_not_unpack(packer: str, tmp_path: Path) -> None:
    short, long = PACKERS[packer](RAW), PACKERS[packer](RAW * 400)
    cuts = [short[:cut] for cut in range(4, len(short))]
    for raw in (*cuts, long[: len(long) // 2], long[:-1]):
        path = tmp_path / "a.gz"
        path.write_bytes(raw)
        with pytest.raises(InputError, match="does not unpack"), plain(Source(path, "a.gz", end=len(raw))):
            pass


@pytest.mark.parametrize("packer", ["gz", "zst streamed"])
def test_what_is_damaged_or_followed_by_something_else_does_not_unpack(packer: str, tmp_path: Path) -> None:
    whole = PACKERS[packer](RAW)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    for raw in (bytes(flipped), whole + b"something else"):
        path = tmp_path / "a.gz"
        path.write_bytes(raw)
        with pytest.raises(InputError, match="does not unpack"), plain(Source(path, "a.gz", end=len(raw))):
            pass


def test_it_is_unpacked_so_often_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packed(tmp_path, "gz in gz in zst")
    monkeypatch.setattr("investigate.ingest.unpack.MAX_LAYERS", 2)
    with pytest.raises(InputError, match="2 times over"), plain(source):
        pass


def test_what_grows_beyond_the_cap_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("investigate.ingest.unpack._CHUNK", 1000)
    for cap, fits in ((len(RAW), True), (len(RAW) - 1, False)):
        monkeypatch.setattr("investigate.ingest.unpack.MAX_BYTES", cap)
        source = packed(tmp_path, "zst")
        if fits:
            with plain(source) as unpacked:
                assert unpacked.path.read_bytes() == RAW
        else:
            with pytest.raises(InputError, match="as bombs do"), plain(source):
                pass


def test_a_full_disk_is_not_blamed_on_the_log(tmp_path: Path) -> None:
    source = packed(tmp_path, "gz", RAW * 400)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"), plain(source):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def archive(path: Path, **contents: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, raw in contents.items():
            made.writestr(name.replace("__", "/"), raw)
    return path


def of_member(path: Path, member: str) -> Source:
    return Source(path, f"{path}!{member}", member=member)


def test_members_are_files_of_their_own(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", a=RAW, b__c=zst(RAW), b__=b"", b__d=b"")
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("b/.hidden", b"x")
        made.writestr("__MACOSX/._a", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("b/d", b"the last of that name")
    named = list(members(Named(path, True)))
    assert [(file.member, file.n_bytes) for file in named] == [("a", len(RAW)), ("b/c", len(zst(RAW))), ("b/d", 21)]
    assert named[1].name == f"{path}!b/c"
    for member, raw in (("a", RAW), ("b/c", RAW), ("b/d", b"the last of that name")):
        with plain(of_member(path, member)) as unpacked:
            assert unpacked.path.read_bytes() == raw
            assert unpacked.folder == tmp_path


def test_the_list_of_members_is_read_once_and_again_when_the_archive_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from investigate.ingest import unpack

    n_read = 0
    read = unpack.read_directory

    def counted(path: Path, name: str) -> Any:
        nonlocal n_read
        n_read += 1
        return read(path, name)

    monkeypatch.setattr(unpack, "read_directory", counted)
    path = archive(tmp_path / "a.zip", **{f"m{i}": str(i).encode() for i in range(30)})
    for file in members(Named(path, True)):
        assert file.member is not None
        source = of_member(path, file.member)
        assert head_of(source, 10) == file.member[1:].encode()
        with plain(source) as unpacked:
            assert unpacked.path.read_bytes() == file.member[1:].encode()
    assert n_read == 1
    archive(path, m0=b"another", m50=b"new")
    assert head_of(of_member(path, "m0"), 10) == b"another"
    with pytest.raises(InputError, match="no longer in the archive"):
        head_of(of_member(path, "m1"), 10)
    assert [info.filename for info in members_of(path, str(path))] == ["m0", "m50"]


def test_the_rows_are_those_of_the_plain_file(tmp_path: Path) -> None:
    """Uids, records, offsets, duplicates and what is skipped: all but the name."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "a.jsonl"
    path.write_bytes(RAW)
    given: dict[str, Path | str] = {"plain": path}
    for packer in ("gz", "zst", "zst in gz"):
        given[packer] = packed(tmp_path, packer, name=f"{packer}.jsonl.gz").path
    given["zip"] = archive(tmp_path / "a.zip", logs__a=RAW)
    given["gz in zip"] = archive(tmp_path / "b.zip", logs__a=gzip.compress(RAW))
    given["uri"] = path.as_uri()
    given["uri of gz"] = (tmp_path / "gz.jsonl.gz").as_uri()
    found = {}
    for name, place in given.items():
        workspace = create_workspace(tmp_path / f"w {name}")
        for n_new in (60, 0):
            with open_writer(workspace) as writer:
                (report,) = ingest(writer, walk([place]), engine=Engine(1))
            assert (report.error, report.episodes) == (None, n_new)
        with open_reader(workspace) as reader:
            found[name] = [
                reader.rows("SELECT * EXCLUDE (source, episode_id) FROM episodes ORDER BY record::INT"),
                reader.rows("SELECT * EXCLUDE (episode_id) FROM parts ORDER BY ALL"),
                reader.rows("SELECT * EXCLUDE (source) FROM skipped ORDER BY byte_offset"),
            ]
    assert [row["byte_offset"] for row in found["plain"][2]] == [RAW.index(b"{torn"), len(RAW) - 7]
    assert len({row["digest"] for row in found["plain"][0]}) == 40
    assert len({row["uid"] for row in found["plain"][0]}) == 60
    for name, rows in found.items():
        assert rows == found["plain"], name
