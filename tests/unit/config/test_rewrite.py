"""Migrated documents keep what their authors wrote around the keys."""

import tomllib

import pytest

from orlop.config.draft import CURRENT_VERSION
from orlop.config.migrate import lift
from orlop.config.rewrite import rewritten
from orlop.config.sources import parse

OLD = """\
# My node.
# Since 2019.

version = 2 # old
root = "/srv/containerd"

# The socket.
[grpc]
  address = "/run/x.sock"   # here
  tcp_address = ""

[plugins."io.containerd.grpc.v1.cri"]
  # Pause.
  sandbox_image = 'registry.example/pause:3' # pause!
  enable_selinux = true
  max_concurrent_downloads = 0x7
  systemd_cgroup = false

  # Containers.
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]

      # Kata.
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
        runtime_type = "io.containerd.kata.v2"
        pod_annotations = [
          "a", # one
          "b",
        ]

[plugins."io.containerd.transfer.v1.local"]
  # x
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64" # p

[timeouts]
  "io.containerd.timeout.bolt.open" = "0s"
# The end.
"""

NEW = """\
# My node.
# Since 2019.

version = 4 # old
root = "/srv/containerd"

# The socket.
[plugins."io.containerd.server.v1.grpc"]
  address = "/run/x.sock"   # here

[plugins."io.containerd.cri.v1.images".pinned_images]
  # Pause.
  sandbox = 'registry.example/pause:3' # pause!

[plugins."io.containerd.cri.v1.runtime"]
  enable_selinux = true

[plugins."io.containerd.cri.v1.images"]
  max_concurrent_downloads = 0x7
    snapshotter = "native"

  # Containers.

      # Kata.
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata]
        runtime_type = "io.containerd.kata.v2"
        pod_annotations = [
          "a", # one
          "b",
        ]

  # x
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64" # p

[timeouts]
  "io.containerd.timeout.bolt.open" = "0s"
# The end.
"""


def migrated(text: str) -> str:
    source = parse(text.encode(), path="c")
    result = lift(source.written, CURRENT_VERSION)
    new = rewritten(source.text, source.written.document, result)
    assert tomllib.loads(new) == result.document
    return new


def test_comments_order_and_spelling_stay() -> None:
    assert migrated(OLD) == NEW


def test_a_document_of_today_stays_as_it_is() -> None:
    text = "version=4#x\n\n\n[ a ]\r\nb  =  1\n"
    assert migrated(text) == text
    assert migrated(migrated(OLD)) == migrated(OLD)


FORMS = {
    "a version in its place": ("a.b = 1\nversion = 3", "a.b = 1\nversion = 4\n"),
    "no version": ("a.b = 1", "version = 4\na.b = 1\n"),
    "comments alone": ("# only\n", "version = 4\n# only\n"),
    "nothing": ("", "version = 4\n"),
    "an inline table": (
        "version = 3\ngrpc = { address = '/x', gid = 1 } # g",
        """version = 4

[plugins]
"io.containerd.server.v1.grpc" = { address = '/x', gid = 1 } # g
""",
    ),
    "line ends of another system": (
        "version = 3\r\n[debug] # d\r\n  level = 'x' # l\r\n",
        "version = 4\n\n[debug] # d\n  level = 'x' # l\n",
    ),
    "an empty table": (
        "[plugins.cri.registry] # r\nheaders.a = ['b'] # h\n[plugins.cri.registry.mirrors]\n",
        """version = 4

[plugins."io.containerd.cri.v1.images".registry] # r
headers.a = ['b'] # h

[plugins."io.containerd.cri.v1.images".registry.mirrors]
""",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    old, expected = FORMS[form]
    assert migrated(old) == expected


def test_dots_in_keys_give_way_to_headers_where_both_cannot_be() -> None:
    new = migrated("""version = 2
[plugins."io.containerd.grpc.v1.cri"]
registry.config_path = "/c" # old
[plugins."io.containerd.cri.v1.images".registry]
insecure_registries = [] # new
""")
    assert 'config_path = "/c" # old' in new
    assert "insecure_registries = [] # new" in new


def test_a_value_of_which_a_part_is_gone_is_written_anew() -> None:
    new = migrated("""version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
configs = { h = { tls = { ca_file = "/x" }, auth = { username = "\\"u\\u007f" } } }
""")
    assert "ca_file" not in new
    assert 'username = "\\"u\\u007f"' in new
