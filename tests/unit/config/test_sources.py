"""Documents on disk: read within limits, imported, laid over each other."""

import os
from pathlib import Path

import pytest

from orlop.config.sources import merge, parse, read, read_all
from orlop.errors import InvalidArgument, NotFound, Unavailable


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_imports_are_read_in_order_and_once(tmp_path: Path) -> None:
    main = write(
        tmp_path / "config.toml",
        'version = 4\nimports = ["conf.d/*.toml", "last.toml", "config.toml"]\n',
    )
    for name in ("b", "a"):
        write(tmp_path / f"conf.d/{name}.toml", 'version = 3\nimports = ["../config.toml"]\n')
    last = write(tmp_path / "last.toml", "version = 2\n")
    paths = [source.path for source in read_all(main)]
    assert paths == [main, f"{tmp_path}/conf.d/a.toml", f"{tmp_path}/conf.d/b.toml", last]


def test_a_pattern_may_match_nothing_but_a_name_must_exist(tmp_path: Path) -> None:
    assert len(read_all(write(tmp_path / "a.toml", 'version = 4\nimports = ["x/*.toml"]'))) == 1
    with pytest.raises(NotFound, match=r"gone\.toml: no such file"):
        read_all(write(tmp_path / "b.toml", 'version = 4\nimports = ["gone.toml"]'))


def test_an_imported_document_may_not_be_newer(tmp_path: Path) -> None:
    write(tmp_path / "new.toml", "version = 4\n")
    with pytest.raises(InvalidArgument, match=r"new\.toml: version 4 is newer"):
        read_all(write(tmp_path / "old.toml", 'version = 3\nimports = ["new.toml"]'))


def test_too_many_documents(tmp_path: Path) -> None:
    for number in range(256):
        write(tmp_path / f"d/{number}.toml", "version = 4\n")
    with pytest.raises(InvalidArgument, match="more than 256"):
        read_all(write(tmp_path / "main.toml", 'version = 4\nimports = ["d/*"]'))


def test_what_is_no_readable_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(str(tmp_path / "absent"))
    with pytest.raises(InvalidArgument, match="no file"):
        read(str(tmp_path))
    with pytest.raises(InvalidArgument, match="no file"):
        read(write(tmp_path / "file", "") + "/below")
    with pytest.raises(InvalidArgument, match="not a path"):
        read("a\0b")
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(Unavailable, match="symbolic links"):
        read(str(tmp_path / "loop"))
    with pytest.raises(InvalidArgument, match="1048576 bytes at most"):
        read("/dev/zero")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = 1\nb = \xff", r"^x:2: not TOML: it is no UTF-8$"),
        (b"\na = ", r"^x:2: not TOML: Invalid value$"),
        (b"a = 1\na = 2\nb = 3", r"^x:2: not TOML: Cannot overwrite a value$"),
        (b"a = " + b"9" * 5000, r"^x: not TOML"),
        (b"a = " + b"[" * 5000, r"^x: it is nested too deeply"),
        (b".".join([b"a"] * 100) + b" = 1", r"^x: it is nested more than 64 levels deep"),
        (b"b = 1\nversion = 7", r"^x:2: version: "),
        (b"version = 2\nplugins = 1\ngrpc.address = '/x'", r"^x: plugins: expected a table"),
    ],
)
def test_what_cannot_be_parsed(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(data, path="x")


def test_where_tells_the_authors_key_and_line() -> None:
    source = parse(
        b'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image="a"', path="x"
    )
    key = ("plugins", "io.containerd.cri.v1.images", "pinned_images", "sandbox")
    assert source.sets(key)
    assert not source.sets((*key[:-1], "other"))
    where = source.where(key)
    assert str(where) == "x:3"
    assert where.key[-1] == "sandbox_image"


def test_merge() -> None:
    first: dict[str, object] = {"a": 1, "t": {"x": [1, 2], "y": 1}, "s": {"k": 1}}
    second: dict[str, object] = {"a": 2, "t": {"x": [2, 3], "z": 1}, "s": 5}
    third: dict[str, object] = {"s": {"n": 0}}
    merged = merge([first, second, third])
    assert merged == {"a": 2, "t": {"x": [1, 2, 3], "y": 1, "z": 1}, "s": {"n": 0}}
    assert first == {"a": 1, "t": {"x": [1, 2], "y": 1}, "s": {"k": 1}}
    assert second["t"] == {"x": [2, 3], "z": 1}
