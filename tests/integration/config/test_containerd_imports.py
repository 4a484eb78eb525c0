"""Imports and their order: Debian's containerd 1.6 and orlop read the same files in the same order.

How a plugin's tables merge is another matter: 1.6 takes the last file's table as a
whole, containerd 2 and orlop merge key by key. So here every file has all keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.config.keys import CRI
from orlop.config.load import load
from orlop.config.sources import read_all
from orlop.errors import ConfigInvalid, OrlopError
from tests.integration.config.rig import Refused, dump, lay_out

if TYPE_CHECKING:
    from pathlib import Path

V = "version = 2\n"
LAYOUTS: dict[str, dict[str, str]] = {
    "nothing": {"c.toml": V},
    "one": {"c.toml": V + 'imports = ["@/a.toml"]', "a.toml": V},
    "relative": {"c.toml": V + 'imports = ["sub/../sub/a.toml", "./b.toml"]', "sub/a.toml": V}
    | {"b.toml": V},
    "glob": {
        "c.toml": V + 'imports = ["@/d/*.toml"]',
        **{f"d/{name}.toml": V for name in ("10-b", "9-a", "Z", "a", "B", "\u00e9", "a.b", "a-b")},
        "d/not.conf": V,
    },
    "glob and hidden files": {"c.toml": V + 'imports = ["@/d/*.toml"]'}
    | {"d/a.toml": V, "d/.b.toml": V},
    "no glob without a star": {"c.toml": V + 'imports = ["@/a[7].toml", "@/b?.toml"]'}
    | {"a[7].toml": V, "a7.toml": V, "b?.toml": V, "bb.toml": V},
    "glob of nothing": {"c.toml": V + 'imports = ["@/none/*.toml", "@/*.none"]'},
    "glob of directories": {
        "c.toml": V + 'imports = ["@/*/x.toml"]',
        "b/x.toml": V,
        "a/x.toml": V,
        "a/y.toml": V,
    },
    "listed before and after a glob": {
        "c.toml": V + 'imports = ["@/d/z.toml", "@/d/*.toml", "@/a.toml"]',
        "a.toml": V,
        "d/a.toml": V,
        "d/z.toml": V,
    },
    "nested, breadth first": {
        "c.toml": V + 'imports = ["@/a.toml", "@/b.toml"]',
        "a.toml": V + 'imports = ["@/deep/a.toml"]',
        "b.toml": V + 'imports = ["@/deep/b.toml", "@/a.toml"]',
        "deep/a.toml": V,
        "deep/b.toml": V,
    },
    "nested, relative to each": {
        "c.toml": V + 'imports = ["a/a.toml"]',
        "a/a.toml": V + 'imports = ["b/b.toml"]',
        "a/b/b.toml": V + 'imports = ["../../last.toml"]',
        "last.toml": V,
    },
    "older drop-in": {"c.toml": V + 'imports = ["@/a.toml"]', "a.toml": "version = 1\n"},
    "drop-in without version": {"c.toml": V + 'imports = ["@/a.toml"]', "a.toml": ""},
}

REFUSED: dict[str, dict[str, str]] = {
    "missing": {"c.toml": V + 'imports = ["@/none.toml"]'},
    "missing, nested": {"c.toml": V + 'imports = ["@/a.toml"]', "a.toml": 'imports = ["none"]'},
    "directory": {"c.toml": V + 'imports = ["@/d"]', "d/x.toml": V},
    "directory found by a pattern": {"c.toml": V + 'imports = ["@/d*"]', "d/x.toml": V},
    "no TOML": {"c.toml": V + 'imports = ["@/a.toml"]', "a.toml": "version 2"},
    "imports are no list": {"c.toml": V + 'imports = "@/a.toml"', "a.toml": V},
    "imports are numbers": {"c.toml": V + "imports = [1]"},
    "a file as directory": {"c.toml": V + 'imports = ["@/c.toml/a.toml"]'},
    "an ill-typed version": {"c.toml": V + 'imports = ["@/a.toml"]', "a.toml": 'version = "2"'},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_files_in_the_same_order(name: str, tmp_path: Path) -> None:
    # Lists grow in the order of reading; each file adds its own name.
    path = lay_out(
        tmp_path,
        {
            file: f'required_plugins = ["io.containerd.file.v1.n{number}"]\n{text}'
            for number, (file, text) in enumerate(LAYOUTS[name].items())
        },
    )
    theirs = dump(path)
    assert list(load(str(path)).config.required_plugins) == theirs["required_plugins"]
    assert sorted(source.path for source in read_all(str(path))) == sorted(theirs["imports"])


def test_a_circle_is_read_by_containerd_and_refused_by_orlop(tmp_path: Path) -> None:
    # Which file of a circle wins depends on where one comes in: nobody can mean that.
    path = lay_out(
        tmp_path,
        {
            "c.toml": V + 'imports = ["@/a.toml"]',
            "a.toml": V + 'imports = ["@/b.toml"]',
            "b.toml": V + 'imports = ["@/c.toml"]',
        },
    )
    assert len(dump(path)["imports"]) == 3
    with pytest.raises(ConfigInvalid, match=r"b\.toml:2: imports: "):
        load(str(path))


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_refuses_the_other_refuses(name: str, tmp_path: Path) -> None:
    path = lay_out(tmp_path, REFUSED[name])
    with pytest.raises(Refused):
        dump(path)
    with pytest.raises(OrlopError, match=str(tmp_path)):
        load(str(path))


@pytest.mark.parametrize("target", ["nowhere", "link.toml"], ids=["dangling", "to itself"])
def test_links_that_lead_nowhere(target: str, tmp_path: Path) -> None:
    path = lay_out(tmp_path, {"c.toml": V + 'imports = ["@/d/*.toml"]', "d/a.toml": V})
    (tmp_path / "d" / "link.toml").symlink_to(target)
    with pytest.raises(Refused):
        dump(path)
    with pytest.raises(OrlopError, match=r"link\.toml"):
        load(str(path))


PLUGINS = [f"io.containerd.snapshotter.v1.{name}" for name in ("native", "overlayfs", "zfs")]
documents = st.fixed_dictionaries(
    {
        "root": st.sampled_from(["/a", "/b", "/c"]),
        "state": st.sampled_from(["/run/a", "/run/b"]),
        "disabled_plugins": st.lists(st.sampled_from(PLUGINS), unique=True),
        "required_plugins": st.lists(st.sampled_from(PLUGINS), unique=True),
        "plugins": st.fixed_dictionaries(
            {
                CRI[1]: st.fixed_dictionaries(
                    {
                        "sandbox_image": st.sampled_from(["a.example/x:1", "b.example/x:2"]),
                        "max_concurrent_downloads": st.integers(-1, 9),
                        "stats_collect_period": st.integers(1, 9),
                        "containerd": st.fixed_dictionaries(
                            {
                                "snapshotter": st.sampled_from(["native", "overlayfs"]),
                                "disable_snapshot_annotations": st.booleans(),
                                "discard_unpacked_layers": st.booleans(),
                            }
                        ),
                    }
                )
            }
        ),
    }
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(documents, min_size=2, max_size=4))
def test_the_last_wins_and_lists_add_up(tmp_path: Path, parts: list[dict[str, Any]]) -> None:
    for old in (tmp_path / "d").glob("*.toml"):
        old.unlink()
    main = {"version": 2, "imports": [f"{tmp_path}/d/*.toml"]} | parts[0]
    drop_ins = {f"d/{n}.toml": {"version": 2} | part for n, part in enumerate(parts[1:])}
    files = {"c.toml": main, **drop_ins}
    path = lay_out(tmp_path, {name: tomlkit.dumps(file) for name, file in files.items()})
    theirs, ours = dump(path), load(str(path)).config
    section = theirs["plugins"][CRI[1]]
    assert (ours.root, ours.state) == (theirs["root"], theirs["state"])
    assert ours.images.pinned_images["sandbox"] == section["sandbox_image"]
    for name in ("max_concurrent_downloads", "stats_collect_period"):
        assert getattr(ours.images, name) == section[name]
    for name, value in section["containerd"].items():
        if name in parts[0]["plugins"][CRI[1]]["containerd"]:
            assert getattr(ours.images, name) == value
    # 1.6 keeps repeated names; each counts once.
    for name in ("disabled_plugins", "required_plugins"):
        assert list(getattr(ours, name)) == list(dict.fromkeys(theirs[name]))
