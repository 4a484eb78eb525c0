"""Checks of single values."""

from collections.abc import Callable
from typing import Any

import pytest

from orlop.config import values
from orlop.config.durations import Duration
from orlop.errors import InvalidArgument

Cases = list[tuple[Callable[[Any], None], list[Any]]]

GOOD: Cases = [
    (values.identifier, ["", "overlayfs", "my-snapshotter_2.x"]),
    (values.required_identifier, ["native"]),
    (values.plugin_name, ["io.containerd.snapshotter.v1.native"]),
    (values.not_negative, [Duration(0), Duration(1)]),
    (values.platform, ["", "linux/amd64", "arm64", "linux", "linux/arm/v7"]),
    (values.image_reference, ["", "busybox", "registry.k8s.io/pause:3.10"]),
    (values.absolute_path, ["/", "/a/b"]),
    (values.search_path, ["", "/a", "/a:/b"]),
    (values.host, ["docker.io", "localhost:5000", "10.0.0.1", "[::1]", "[fd00::1]:5000", "a:0"]),
    (values.registry_host, ["*", "quay.io"]),
    (values.registry_url, ["https://mirror.example", "http://[::1]:5000/v2/x"]),
    (values.auth_url, ["https://index.docker.io/v1/", "quay.io", "quay.io:443"]),
    (values.header_name, ["X-Meta", "a"]),
    (values.header_value, ["", "any thing"]),
    (values.socket_address, ["/run/x.sock", "unix:///run/x.sock", "/" + "x" * 106]),
    (values.loopback_address, ["", "127.0.0.1:0", "localhost:9464", "[::1]:65535", "127.9.9.9:1"]),
]
BAD: Cases = [
    (values.identifier, ["-a", "a/b", "a..b", "x" * 77, "ä"]),
    (values.not_empty, [""]),
    (values.required_identifier, ["", " "]),
    (values.plugin_name, ["", "cri", "io.containerd..x", ".a"]),
    (values.not_negative, [Duration(-1)]),
    (values.platform, ["linux/", "not a platform", "a/b/c/d/e"]),
    (values.image_reference, ["docker.io/UPPER", "a b", "x@sha256:1"]),
    (values.absolute_path, ["", "a", "./a", "/a\0b"]),
    (values.search_path, ["a", "/a:", "/a:b"]),
    (
        values.host,
        [
            "",
            "*",
            "https://x",
            "a/b",
            "a:b",
            "a:65536",
            "a:",
            "[::1",
            "[x]",
            "::1",
            "u@h",
            "a:\u0661",
        ],
    ),
    (values.registry_host, ["", "**"]),
    (
        values.registry_url,
        ["", "mirror.example", "ftp://x", "https://", "https://u:p@h", "http://[x"],
    ),
    (values.auth_url, ["", "https://", "http://[x", "https://u:p@h"]),
    (values.header_name, ["", "a b", "a:", "ä"]),
    (values.header_value, ["a\r\nb", "a\0"]),
    (values.socket_address, ["", "run/x", "tcp://x", "/" + "x" * 107]),
    (
        values.loopback_address,
        ["127.0.0.1", "0.0.0.0:1", "[::]:1", "example.com:1", ":1", "10.0.0.1:1"],
    ),
]


@pytest.mark.parametrize(("check", "value"), [(c, v) for c, some in GOOD for v in some])
def test_good(check: Callable[[Any], None], value: Any) -> None:
    check(value)


@pytest.mark.parametrize(("check", "value"), [(c, v) for c, some in BAD for v in some])
def test_bad(check: Callable[[Any], None], value: Any) -> None:
    with pytest.raises(InvalidArgument):
        check(value)


@pytest.mark.parametrize(
    ("check", "value"),
    [(values.registry_url, "https://u:hunter2@h"), (values.header_value, "hunter2\n")],
)
def test_messages_hold_no_secret(check: Callable[[Any], None], value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(value)
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_split_loopback() -> None:
    assert values.split_loopback("localhost:80") == ("127.0.0.1", 80)
    assert values.split_loopback("[::1]:0") == ("::1", 0)


def test_auth_host() -> None:
    assert values.auth_host("https://index.docker.io/v1/") == "index.docker.io"
    assert values.auth_host("quay.io:443") == "quay.io:443"
