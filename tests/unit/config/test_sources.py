"""Documents on disk: read within limits, imported, laid over each other."""

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from orlop.config.sources import parse, read, read_all
from orlop.errors import ConfigInvalid, NotFound


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_imports_are_read_in_order_and_once(tmp_path: Path) -> None:
    main = write(
        tmp_path / "config.toml",
        'version = 4\nimports = ["*.toml", "conf.d/*.toml", "last.toml"]\n',
    )
    for name in ("b", "a"):
        write(tmp_path / f"conf.d/{name}.toml", f'version = 3\nimports = ["{name}/x"]\n')
        write(tmp_path / f"conf.d/{name}/x", "version = 1")
    last = write(tmp_path / "last.toml", "version = 2\n")
    paths = [source.path for source in read_all(main)]
    drop_ins = f"{tmp_path}/conf.d"
    assert paths == [
        main,
        last,
        *(f"{drop_ins}/a.toml", f"{drop_ins}/b.toml"),
        *(f"{drop_ins}/a/x", f"{drop_ins}/b/x"),
    ]


def test_a_pattern_may_match_nothing_but_a_name_must_exist(tmp_path: Path) -> None:
    assert len(read_all(write(tmp_path / "a.toml", 'version = 4\nimports = ["x/*.toml"]'))) == 1
    with pytest.raises(NotFound, match=r"gone\.toml: no such file"):
        read_all(write(tmp_path / "b.toml", 'version = 4\nimports = ["gone.toml"]'))


@pytest.mark.parametrize(
    ("imports", "chain"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "a -> b -> c -> a"),
        ({"a": ["b", "c"], "b": ["c"], "c": ["b"]}, "b -> c -> b"),
        ({"a": ["sub/../b"], "b": ["link"]}, "b -> b"),
    ],
)
def test_documents_that_import_each_other(
    tmp_path: Path, imports: dict[str, list[str]], chain: str
) -> None:
    os.symlink("b", tmp_path / "link")
    for name, others in imports.items():
        write(tmp_path / name, f"version = 4\n\nimports = {others}")
    with pytest.raises(ConfigInvalid, match=r":3: imports: the documents import") as caught:
        read_all(str(tmp_path / "a"))
    assert caught.value.message.replace(f"{tmp_path}/", "").endswith(chain)


def test_a_document_that_two_import_is_no_circle(tmp_path: Path) -> None:
    write(tmp_path / "common", "version = 4")
    for name in ("b", "c"):
        write(tmp_path / name, 'version = 4\nimports = ["common"]')
    main = write(tmp_path / "a", 'version = 4\nimports = ["b", "c"]')
    assert [Path(source.path).name for source in read_all(main)] == ["a", "b", "c", "common"]


def test_too_many_documents(tmp_path: Path) -> None:
    for number in range(256):
        write(tmp_path / f"d/{number}.toml", "version = 4\n")
    with pytest.raises(ConfigInvalid, match="more than 256"):
        read_all(write(tmp_path / "main.toml", 'version = 4\nimports = ["d/*"]'))


def test_what_is_no_readable_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(str(tmp_path / "absent"))
    with pytest.raises(ConfigInvalid, match="no ordinary file"):
        read(str(tmp_path))
    with pytest.raises(ConfigInvalid, match="no ordinary file"):
        read(write(tmp_path / "file", "") + "/below")
    with pytest.raises(ConfigInvalid, match="not a path"):
        read("a\0b")
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(ConfigInvalid, match="symbolic links"):
        read(str(tmp_path / "loop"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigInvalid, match="no ordinary file"):
        read(str(tmp_path / "fifo"))
    with pytest.raises(ConfigInvalid, match="no ordinary file"):
        read("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(ConfigInvalid, match="no ordinary file"):
            read(str(tmp_path / "socket"))


def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    path = write(tmp_path / "long", "")
    os.truncate(path, 10 << 20)
    with pytest.raises(ConfigInvalid, match="1048576 bytes at most"):
        read(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = 1\nb = \xff", r"^x:2: not TOML: it is no UTF-8$"),
        (b"\na = ", r"^x:2: not TOML: Invalid value$"),
        (b"a = 1\na = 2\nb = 3", r"^x:2: not TOML: Cannot overwrite a value$"),
        (b"[a]\n[a]\n", r"^x:2: not TOML: Cannot declare \('a',\) twice$"),
        (b"b = 1\na = " + b"9" * 5000, r"^x:2: not TOML: a number has too many digits"),
        (b"\na = " + b"[" * 5000, r"^x:2: it is nested more than 64 levels deep"),
        (b".".join([b"a"] * 100) + b" = 1", r"^x:1: it is nested more than 64 levels deep"),
        (b"a = " + b"{a=" * 100, r"^x:1: it is nested more than 64 levels deep"),
        (b"b = 1\nversion = 7", r"^x:2: version: "),
        (b"\xef\xbb\xbfversion = 4", r"^x:1: not TOML: it begins with a byte order mark"),
        (b"version = 4\n\0", r"^x:2: not TOML: it has a null byte"),
    ],
)
def test_what_cannot_be_parsed(data: bytes, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        parse(data, path="x")


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 400_000 + " = 1",
        "a = " + "{a=" * 300_000,
        "a = " + "[" * 1_000_000,
        "a = [" + "[1]," * 60_000 + "]",
        "[[a]]\n" * 50_000,
        'a = "' + '\\"' * 500_000,
        'a = """' + '""x' * 300_000,
        "a = " + "'" * 3 + "''x" * 300_000,
        '"' * 1_000_000,
        "a" * 1_000_000,
        "[" + "a " * 400_000,
        "\n" * 1_000_000,
        "#" * 1_000_000,
        " " * 1_000_000 + "=",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_hostile_document_costs_little_time(text: str) -> None:
    before = time.process_time()
    with contextlib.suppress(ConfigInvalid):
        parse(text.encode(), path="x")
    assert time.process_time() - before < 8


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.toml", "version = 4")
    os.chmod(path, 0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(ConfigInvalid, match=r"secret\.toml: it cannot be read: Permission"):
            read(path)
    finally:
        os.seteuid(user)
