"""Several documents as one: what containerd 2 makes of imports and drop-ins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.config.load import Loaded, load
from orlop.errors import InvalidArgument, NotFound, OrlopError

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = '[plugins."io.containerd.cri.v1.images"]\n'
OLD = '[plugins."io.containerd.grpc.v1.cri"]\n'
HEAD = 'version = 3\nimports = ["conf.d/*.toml"]\n'


def write(place: Path, files: dict[str, str]) -> str:
    """Write documents; the path of the first."""
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(place / next(iter(files)))


def loaded(place: Path, main: str, *drop_ins: str) -> Loaded:
    """A main document with drop-ins 0.toml, 1.toml and so on."""
    files = {f"conf.d/{number}.toml": text for number, text in enumerate(drop_ins)}
    return load(write(place, {"config.toml": main, **files}))


def downloads(place: Path, files: dict[str, str]) -> int:
    return load(write(place, files)).config.images.max_concurrent_downloads


def says(number: int, imports: str = "[]", version: int = 3) -> str:
    return f"version = {version}\nimports = {imports}\n{IMAGES}max_concurrent_downloads = {number}"


@pytest.mark.parametrize(
    ("files", "last"),
    [
        ({"c": says(1)}, 1),
        ({"c": says(1, '["a"]'), "a": says(2)}, 2),
        ({"c": says(1, '["a", "b"]'), "a": says(2), "b": says(3)}, 3),
        ({"c": says(1, '["b", "a"]'), "a": says(2), "b": says(3)}, 2),
        ({"c": says(1, '["d/*.toml"]'), "d/10.toml": says(2), "d/9.toml": says(3)}, 3),
        ({"c": says(1, '["d/*.toml"]'), "d/a.toml": says(2), "d/B.toml": says(3)}, 2),
        ({"c": says(1, '["d/*.toml"]'), "d/a.toml": says(2), "d/z.conf": says(3)}, 2),
        ({"c": says(1, '["d/*/x"]'), "d/b/x": says(2), "d/a/x": says(3)}, 2),
        ({"c": says(1, '["d/*.toml", "a"]'), "d/z.toml": says(2), "a": says(3)}, 3),
        # Named before the pattern: it has had its turn.
        ({"c": says(1, '["d/z", "d/*"]'), "d/a": says(2), "d/z": says(3)}, 2),
        # Breadth first: what an import imports comes after its siblings.
        ({"c": says(1, '["a", "b"]'), "a": says(2, '["x"]'), "b": says(3), "x": says(4)}, 4),
        ({"c": says(1, '["a/a", "b"]'), "a/a": says(2, '["../b"]'), "b": says(3)}, 3),
        ({"c": says(1, '["a/a"]'), "a/a": says(2, '["b/b"]'), "a/b/b": says(3)}, 3),
        ({"e/c": says(1, '["../f/./a"]'), "f/a": says(2)}, 2),
        ({"c": says(1, '["none/*.toml", "*.none"]')}, 1),
        # As in Go, a pattern finds hidden files, and nothing but a star makes one.
        ({"c": says(1, '["d/*.toml"]'), "d/.a.toml": says(2)}, 2),
        ({"c": says(1, '["a[7].toml"]'), "a[7].toml": says(2), "a7.toml": says(3)}, 2),
        ({"c": says(1, '["a?.toml"]'), "a?.toml": says(2), "ab.toml": says(3)}, 2),
    ],
    ids=str,
)
def test_the_last_wins(files: dict[str, str], last: int, tmp_path: Path) -> None:
    assert downloads(tmp_path, files) == last


def test_absolute_imports(tmp_path: Path) -> None:
    write(tmp_path, {"far/a.toml": says(2)})
    place = tmp_path / "near"
    assert downloads(place, {"c": says(1, f'["{tmp_path}/far/a.toml"]')}) == 2
    assert downloads(place, {"c": says(1, f'["{tmp_path}/far/*.toml"]')}) == 2


def test_tables_merge_key_by_key(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        HEAD + IMAGES + 'snapshotter = "native"\nimage_pull_with_sync_fs = true\n'
        "pinned_images = { sandbox = 'a.example/x', one = 'a.example/one' }\n"
        "registry.headers = { X-A = ['1'] }",
        "version = 3\n" + IMAGES + "image_pull_with_sync_fs = false\n"
        "pinned_images.two = 'a.example/two'\nregistry.config_path = '/certs.d'",
        "version = 3\n" + IMAGES + "pinned_images.one = 'b.example/one'\n"
        "registry.headers.X-B = ['2']\nstats_collect_period = 9",
    ).config.images
    assert found.snapshotter == "native"
    # A drop-in can take a value back to what Go calls empty.
    assert found.image_pull_with_sync_fs is False
    assert found.stats_collect_period == 9
    assert found.pinned_images == {
        "sandbox": "a.example/x",
        "one": "b.example/one",
        "two": "a.example/two",
    }
    assert found.registry.config_path == "/certs.d"
    assert found.registry.headers == {"X-A": ("1",), "X-B": ("2",)}


def test_lists_at_the_top_add_up(tmp_path: Path) -> None:
    def plugins(*names: str) -> str:
        return f"disabled_plugins = {[f'io.containerd.snapshotter.v1.{name}' for name in names]}\n"

    found = loaded(
        tmp_path,
        HEAD + plugins("zfs", "native"),
        "version = 3\n" + plugins("native", "btrfs"),
        "version = 3\n" + plugins(),
    )
    names = [name.rpartition(".")[2] for name in found.config.disabled_plugins]
    assert names == ["zfs", "native", "btrfs"]


def test_lists_in_tables_are_replaced(tmp_path: Path) -> None:
    endpoint = "registry.mirrors.'docker.io'.endpoint = "
    found = loaded(
        tmp_path,
        HEAD + IMAGES + endpoint + "['https://a.example', 'https://b.example']\n"
        "registry.headers.X = ['1']",
        "version = 3\n" + IMAGES + endpoint + "['https://c.example']\nregistry.headers.X = []",
    ).config.images.registry
    assert found.mirrors["docker.io"].endpoint == ("https://c.example",)
    assert found.headers == {"X": ()}


def test_a_proxy_plugin_is_replaced_as_a_whole(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        HEAD + "[proxy_plugins.a]\ntype = 'snapshot'\nplatform = 'linux/arm64'\n"
        "[proxy_plugins.b]\ntype = 'snapshot'",
        "version = 3\n[proxy_plugins.a]\ntype = 'snapshot'\naddress = '/run/a.sock'",
    )
    assert found.document["proxy_plugins"] == {
        "a": {"type": "snapshot", "address": "/run/a.sock"},
        "b": {"type": "snapshot"},
    }


def test_documents_that_import_each_other_are_refused(tmp_path: Path) -> None:
    files = {"c": says(1, '["a"]'), "a": says(2, '["b"]'), "b": says(3, '["c"]')}
    with pytest.raises(InvalidArgument, match=f"{tmp_path}/b:2: imports: .* each other"):
        downloads(tmp_path, files)


@pytest.mark.parametrize("versions", [(2, 3, 4), (4, 3, 2), (2, 4, 3), (4, 2, 4), (3, 2, 2)])
def test_documents_of_all_ages(versions: tuple[int, ...], tmp_path: Path) -> None:
    def document(number: int, version: int) -> str:
        own = f"pinned_images.n{number} = 'a.example/{number}'\n" if version > 2 else ""
        return f"{OLD if version == 2 else IMAGES}stats_collect_period = {number + 1}\n{own}"

    main, *drop_ins = (document(number, version) for number, version in enumerate(versions))
    found = loaded(
        tmp_path,
        f'version = {versions[0]}\nimports = ["conf.d/*.toml"]\n{main}',
        *(f"version = {n}\n{text}" for n, text in zip(versions[1:], drop_ins, strict=True)),
    ).config.images
    assert found.stats_collect_period == 3
    own = {f"n{number}" for number, version in enumerate(versions) if version > 2}
    assert set(found.pinned_images) - {"sandbox"} == own


@pytest.mark.parametrize(
    ("main", "drop_in", "number"),
    [
        (OLD + "max_concurrent_downloads = 1", OLD + "max_concurrent_downloads = 2", 2),
        (IMAGES + "max_concurrent_downloads = 1", OLD + "max_concurrent_downloads = 2", 2),
        (OLD + "max_concurrent_downloads = 1", IMAGES + "max_concurrent_downloads = 2", 2),
    ],
    ids=["old over old", "old over new", "new over old"],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_drop_in_wins_in_whatever_section(
    main: str, drop_in: str, number: int, version: int, tmp_path: Path
) -> None:
    top = 3 if main.startswith(IMAGES) else version
    found = loaded(
        tmp_path,
        f'version = {top}\nimports = ["conf.d/*.toml"]\n{main}',
        f"version = {version}\n{drop_in}",
    )
    assert found.config.images.max_concurrent_downloads == number


def test_a_short_name_in_an_old_drop_in(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, HEAD + IMAGES + "snapshotter = 'native'", "[plugins.cri]\nsandbox_image = 'b'"
    )
    assert found.config.images.pinned_images["sandbox"] == "b"
    assert found.config.images.snapshotter == "native"


def test_messages_name_the_drop_in_and_its_line(tmp_path: Path) -> None:
    main = HEAD + IMAGES + "stats_collect_period = 9\n"
    with pytest.raises(InvalidArgument) as caught:
        loaded(tmp_path, main, "version = 2\n\n" + OLD + "stats_collect_period = 'x'")
    assert caught.value.message.startswith(f"{tmp_path}/conf.d/0.toml:4: ")
    assert "grpc.v1.cri" in caught.value.message
    with pytest.raises(InvalidArgument) as caught:
        loaded(tmp_path, main, "version = 3\n" + IMAGES + "registry = 3")
    assert caught.value.message.startswith(f"{tmp_path}/conf.d/0.toml:3: ")
    warnings = loaded(tmp_path, main, "version = 3\n" + IMAGES + "nonsense = 3").warnings
    assert any(text.startswith(f"{tmp_path}/conf.d/0.toml:3: ") for text in warnings)


def test_two_documents_that_exclude_each_other(tmp_path: Path) -> None:
    mirrors = "registry.mirrors.'docker.io'.endpoint = ['https://a.example']"
    with pytest.raises(InvalidArgument, match=r"conf\.d/0\.toml:[0-9]+: .*mirrors"):
        loaded(
            tmp_path,
            HEAD + IMAGES + "registry.config_path = '/certs.d'",
            "version = 2\n" + OLD + mirrors,
        )


@pytest.mark.parametrize(
    ("name", "error"),
    [("none", NotFound), ("folder", InvalidArgument), ("c/x", OrlopError), ("loop", OrlopError)],
)
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_what_cannot_be_imported(
    name: str, error: type[OrlopError], version: int, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    main = write(tmp_path, {"c": f'version = {version}\nimports = ["{name}"]'})
    with pytest.raises(error, match=f"{tmp_path}/{name}"):
        load(main)


def test_a_pattern_finds_what_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").symlink_to("nowhere")
    with pytest.raises(NotFound, match=r"conf\.d/a\.toml"):
        loaded(tmp_path, HEAD)


def test_a_directory_that_leads_back_comes_to_an_end(tmp_path: Path) -> None:
    os.symlink(".", tmp_path / "again")
    main = write(tmp_path, {"c": 'version = 3\nimports = ["again/c"]'})
    with pytest.raises(OrlopError):
        load(main)
