"""``orlop config``."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
IMAGES = "io.containerd.cri.v1.images"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_default_can_be_read_back(run: Run, tmp_path: Path) -> None:
    code, out, err = run("config", "default")
    assert (code, err) == (0, "")
    path = write(tmp_path / "config.toml", out)
    assert run("config", "check", "--config", path) == (0, "no errors, 0 warnings\n", "")


def test_check_tells_file_and_line(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", f'version = 4\n[plugins."{IMAGES}"]\nsnapshotter = 5\n')
    code, out, err = run("config", "check", "--config", path)
    assert (code, out) == (1, "")
    assert err.startswith(f"orlop: {path}:3: ")
    assert run("config", "check", "--config", str(tmp_path / "none"))[0] == 3


def test_check_knows_the_names_of_plugins(run: Run, tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.toml",
        'version = 4\ndisabled_plugins = ["io.containerd.snapshotter.v1.nativ"]\n'
        'required_plugins = ["io.containerd.cri.v1.runtime"]\n',
    )
    code, out, err = run("config", "check", "--config", path)
    assert (code, out) == (0, "no errors, 2 warnings\n")
    assert "did you mean io.containerd.snapshotter.v1.native?" in err
    assert "io.containerd.cri.v1.runtime is no plugin of an image service" in err
    path = write(tmp_path / "c.toml", 'version = 4\nrequired_plugins = ["a.v1.b"]\n')
    code, out, err = run("config", "check", "--config", path)
    assert (code, out) == (2, "")
    assert "required plugin a.v1.b cannot start: there is no such plugin" in err


def test_warnings_go_to_standard_error(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", f'version = 4\n[plugins."{IMAGES}"]\nsnapshoter = "x"\n')
    code, out, err = run("config", "check", "--config", path)
    assert (code, out) == (0, "no errors, 1 warnings\n")
    assert err.startswith(f"orlop: warning: {path}:3: ")
    found = json.loads(run("config", "check", "--config", path, "-o", "json")[1])
    assert len(found["warnings"]) == 1


def test_dump_is_the_whole_document(run: Run, tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.toml",
        f'version = 4\n[plugins."{IMAGES}"]\nsnapshotter = "native"\n'
        '[plugins."io.containerd.cri.v1.runtime"]\nenable_selinux = true\n',
    )
    code, out, err = run("config", "dump", "--config", path)
    assert (code, err) == (0, "")
    from_toml = tomllib.loads(out)
    from_json = json.loads(run("config", "dump", "--config", path, "-o", "json")[1])
    places = from_json.pop("provenance")
    assert from_toml == from_json
    assert places[f'plugins."{IMAGES}".snapshotter'] == f"{path}:3"
    assert places['plugins."io.containerd.cri.v1.runtime".enable_selinux'] == f"{path}:5"
    assert places["root"] == "default"
    assert f'snapshotter = "native" # {path}:3\n' in out
    assert 'root = "/var/lib/orlop" # default\n' in out
    assert from_json["plugins"][IMAGES]["snapshotter"] == "native"
    assert from_json["plugins"][IMAGES]["image_pull_with_sync_fs"] is True
    assert from_json["plugins"]["io.containerd.cri.v1.runtime"] == {"enable_selinux": True}


def test_secrets_are_not_dumped(run: Run, tmp_path: Path) -> None:
    table = f'[plugins."{IMAGES}".registry.configs."r.example".auth]'
    path = write(tmp_path / "c.toml", f'version = 4\n{table}\npassword = "hush"\n')
    for output in ("table", "json"):
        code, out, err = run("config", "dump", "--config", path, "-o", output)
        assert code == 0
        assert "r.example" in out
        assert "hush" not in out + err


def test_without_a_command_it_helps(run: Run) -> None:
    code, out, err = run("config")
    assert code == 2
    assert "dump" in out + err


OLD = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.example/pause:3"
  max_concurrent_downloads = 7
  systemd_cgroup = true
"""


def test_migrate_prints_the_new_document_and_reports(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "old.toml", OLD)
    code, out, err = run("config", "migrate", path)
    assert code == 0
    images = tomllib.loads(out)["plugins"][IMAGES]
    assert images["max_concurrent_downloads"] == 7
    assert images["pinned_images"]["sandbox"] == "registry.example/pause:3"
    assert "sandbox_image" in err
    assert "systemd_cgroup" in err


def test_migrate_as_json_has_the_report_in_the_document(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "old.toml", OLD)
    document = json.loads(run("config", "migrate", path, "-o", "json")[1])
    assert document["plugins"][IMAGES]["max_concurrent_downloads"] == 7
    kinds = {change["old"].rpartition(".")[2]: change["kind"] for change in document["report"]}
    assert kinds["max_concurrent_downloads"] == "moved"
    assert kinds["systemd_cgroup"] == "dropped"


def test_migrated_documents_can_be_loaded(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("config", "migrate", write(tmp_path / "old.toml", OLD))
    path = write(tmp_path / "new.toml", out)
    assert run("config", "check", "--config", path)[0] == 0


def test_migrate_of_a_missing_file(run: Run, tmp_path: Path) -> None:
    assert run("config", "migrate", str(tmp_path / "none.toml"))[0] == 3


def test_explain_tells_meaning_value_and_line(run: Run, tmp_path: Path) -> None:
    text = f'version = 4\n[plugins."{IMAGES}"]\nmax_concurrent_downloads = 9\n'
    path = write(tmp_path / "c.toml", text)
    code, out, _ = run("config", "explain", "max_concurrent_downloads", "--config", path)
    assert code == 0
    assert "default 3" in out
    assert f"is 9 ({path}:3)" in out
    (one,) = json.loads(
        run("config", "explain", "registry.config_path", "--config", path, "-o", "json")[1]
    )
    assert one["from"] == "default"
    assert one["value"] == ""
    assert one["type"] == "string"


def test_explain_suggests_the_nearest_key(run: Run) -> None:
    code, out, err = run("config", "explain", "max_concurent_downloads")
    assert (code, out) == (3, "")
    assert "did you mean max_concurrent_downloads?" in err


def test_check_takes_the_file_as_an_argument_too(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "version = 4\nroot = 5\n")
    for arguments in ((path,), ("--config", path)):
        code, _, err = run("config", "check", *arguments)
        assert code == 1
        assert f"{path}:2: root: " in err
    assert run("config", "check", path, "--config", path)[0] == 2


def test_dump_names_the_line_of_what_a_drop_in_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    drop_in = write(tmp_path / "d" / "10.toml", OLD)
    path = write(tmp_path / "c.toml", 'version = 3\nimports = ["d/*.toml"]\n')
    places = json.loads(run("config", "dump", path, "-o", "json")[1])["provenance"]
    assert places[f'plugins."{IMAGES}".max_concurrent_downloads'] == f"{drop_in}:4"
    assert places[f'plugins."{IMAGES}".pinned_images.sandbox'] == f"{drop_in}:3"
    assert places["imports"] == f"{path}:2"
    out = run("config", "dump", path)[1]
    assert f"max_concurrent_downloads = 7 # {drop_in}:4\n" in out


def test_values_that_json_lacks_are_dumped(run: Run, tmp_path: Path) -> None:
    text = "version = 4\n[timeouts]\na = 1979-05-27\nb = 07:32:00\nc = nan\nd = [-inf]\n"
    path = write(tmp_path / "c.toml", text)
    for arguments in (("dump", path), ("migrate", path)):
        code, out, _ = run("config", *arguments, "-o", "json")
        assert code == 0
        assert json.loads(out)["timeouts"] == {
            "a": "1979-05-27",
            "b": "07:32:00",
            "c": "nan",
            "d": ["-inf"],
        }
    assert "a = 1979-05-27 # " in run("config", "dump", path)[1]


def test_explain_knows_every_section(run: Run) -> None:
    for key in ("pause_threshold", "bin_dir", "no_sync", "upperdir_label", "accepts"):
        code, out, _ = run("config", "explain", key)
        assert code == 0
        assert key in out
