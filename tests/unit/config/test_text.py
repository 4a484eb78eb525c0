"""The default document, the dump and the reference page all follow the schema."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from orlop.config.load import loads
from orlop.config.schema import Config, ImageConfig
from orlop.config.sections import BUILTIN_SECTIONS
from orlop.config.text import HIDDEN, default_text, document, explained, reference
from tests.effects import EFFECTS

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
IMAGES = "io.containerd.cri.v1.images"


def test_the_default_document_is_the_defaults() -> None:
    loaded = loads(default_text())
    config = loaded.config
    assert config == Config(sections=config.sections, plugins=config.plugins)
    for section in BUILTIN_SECTIONS:
        assert config.section(section.name, section.schema) == section.schema()
    assert loaded.warnings == ()


def test_the_default_document_has_every_key_with_its_explanation() -> None:
    text = default_text()
    plain = text.replace("\n# # ", " ").replace("\n# ", " ")
    for one in explained():
        assert re.search(rf"^(# )?{one.key[-1]} = |\.{one.key[-1]}\]", text, re.MULTILINE), one
        assert one.meaning.split(".")[0] in plain


def test_the_examples_of_the_default_document_can_be_uncommented() -> None:
    lines = default_text().splitlines()
    uncommented = [
        line.removeprefix("# ") if line.startswith(("# [plugins", "# NAME", "# endpoint")) else line
        for line in lines
    ]
    images = tomllib.loads("\n".join(uncommented))["plugins"][IMAGES]
    assert images["runtime_platforms"] == {"NAME": {}}
    assert images["registry"]["mirrors"] == {"NAME": {"endpoint": []}}
    assert images["registry"]["ca_files"] == {"NAME": ""}


def test_lines_are_readable() -> None:
    assert max(len(line) for line in default_text().splitlines()) <= 96


def test_document_is_plain_and_complete() -> None:
    whole: Any = document(Config())
    assert json.loads(json.dumps(whole)) == whole
    assert whole["plugins"][IMAGES]["image_pull_progress_timeout"] == "5m0s"
    assert set(whole["plugins"][IMAGES]) == set(ImageConfig.__struct_fields__)


def test_document_can_be_read_back() -> None:
    loaded = loads(
        f'version = 4\n[plugins."{IMAGES}"]\nsnapshotter = "native"\n'
        'runtime_platforms.x.platform = "linux/arm64"\nregistry.ca_files."h:1" = "/x"\n'
    )
    whole: Any = document(loaded.config)
    images = whole["plugins"][IMAGES]
    assert images["runtime_platforms"] == {"x": {"platform": "linux/arm64", "snapshotter": ""}}
    assert images["registry"]["ca_files"] == {"h:1": "/x"}


def test_document_keeps_the_parts_of_others() -> None:
    loaded = loads("""version = 3
oom_score = 5
[grpc]
uid = 7
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dir = "/opt"
""")
    whole: Any = document(loaded.config, loaded.document)
    assert whole["version"] == 4
    assert whole["oom_score"] == 5
    assert whole["plugins"]["io.containerd.cri.v1.runtime"] == {"cni": {"bin_dir": "/opt"}}
    assert whole["plugins"]["io.containerd.server.v1.grpc"] == {
        "uid": 7,
        "gid": 0,
        "address": "unix:///run/orlop/orlop.sock",
    }


def test_document_hides_secrets() -> None:
    loaded = loads(f"""version = 4
[plugins."{IMAGES}".registry]
headers.Authorization = ["hunter1"]
configs.h.auth = {{ username = "me", password = "hunter2", auth = "hunter3" }}
auths."https://u.example".identitytoken = "hunter5"
[plugins."io.example.v1.other"]
password = "hunter6"
"https://u:hunter7@h" = 1
[stream_processors.x]
env = ["KEY=hunter8"]
""")
    whole: Any = document(loaded.config, loaded.document)
    assert "hunter" not in repr(whole)
    auth = whole["plugins"][IMAGES]["registry"]["configs"]["h"]["auth"]
    assert auth == {"username": "me", "password": HIDDEN, "auth": HIDDEN, "identitytoken": ""}


def test_the_page_holds_the_reference() -> None:
    assert reference(EFFECTS) in PAGE.read_text(), "run make docs"
