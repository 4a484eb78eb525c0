"""Where a search begins: small, honest examples of what each target reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orlop.config.text import default_text
from orlop.model.mediatype import Compression
from orlop.testing import layers
from orlop.unpack import frames
from orlop.unpack.frames import Done, Failed, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DIGEST = "sha256:" + "a" * 64
_SPARSE = b"s" * 512 + bytes(3000) + b"t" * 100


def seeds() -> Mapping[str, Sequence[bytes]]:
    """Examples by target."""
    archives = _archives()
    return {
        "configuration": [default_text().encode(), *_configurations()],
        "documents": [bytes([number]) + text for number in range(4) for text in _documents()],
        # The targets put the first bytes before it.
        "gzip": [layers.compress(data, Compression.GZIP)[2:] for data in archives[:2]],
        "zstd": [layers.compress(data, Compression.ZSTD)[4:] for data in archives[:2]],
        "headers": _headers(),
        "hosts": _hosts(),
        "reference": [
            b"busybox",
            b"docker.io/library/busybox:1.36@" + _DIGEST.encode(),
            b"[fd00::1]:5000/team/app:v1",
            b"linux/arm64/v8",
            b"./a/../b//c",
        ],
        "tar": archives,
        "worker_frames": _frames(),
    }


def _archives() -> list[bytes]:
    plain = [
        layers.directory("d", mode=0o1755, uid=7),
        layers.file("d/f", b"content" * 20),
        layers.symlink("d/s", "f"),
        layers.hard_link("d/h", "d/f"),
        layers.whiteout("gone"),
    ]
    return [
        layers.tar_bytes(plain),
        layers.tar_bytes([layers.file("f", b"x")]),
        layers.tar_bytes([layers.Entry(b"n" * 200, data=b"long", format="gnu")]),
        layers.tar_bytes([layers.Entry(b"p" * 150, layers.SYMLINK, link=b"t" * 200, format="pax")]),
        *(
            layers.tar_bytes(
                [layers.sparse_file("s", _SPARSE, [(0, 512), (3512, 100)], format=form)]
            )
            for form in ("gnu", "0.0", "0.1", "1.0")
        ),
    ]


def _configurations() -> list[bytes]:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    texts = (
        f"""version = 2
[{cri}]
sandbox_image = "pause:3.9"
[{cri}.registry.mirrors."docker.io"]
endpoint = ["https://mirror.example"]
""",
        '[plugins.cri.containerd]\nsnapshotter = "native"\n',
        'version = 3\nimports = ["x"]\n[proxy_plugins.a]\ntype = "snapshot"\n',
    )
    return [text.encode() for text in texts]


def _documents() -> list[bytes]:
    descriptor = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": _DIGEST,
        "size": 10,
    }
    config = descriptor | {"mediaType": "application/vnd.oci.image.config.v1+json"}
    manifest = {"schemaVersion": 2, "config": config, "layers": [descriptor]}
    index = {
        "schemaVersion": 2,
        "manifests": [
            descriptor
            | {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
            }
        ],
    }
    image = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"User": "1000:1000", "Env": ["A=b"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [_DIGEST]},
        "history": [{"created_by": "x", "empty_layer": True}],
    }
    return [json.dumps(document).encode() for document in (manifest, index, image)]


def _headers() -> list[bytes]:
    return [
        b'Bearer realm="https://auth.example/token",service="s",scope="repository:a/b:pull"',
        b'Basic realm="x", charset="UTF-8"\nBearer realm="https://a.example/\\"q\\""',
        b"120",
        b"Wed, 21 Oct 2026 07:28:00 GMT",
        b'{"token":"abc","expires_in":300,"access_token":"d"}',
    ]


def _hosts() -> list[bytes]:
    texts = (
        """server = "https://registry.example"
capabilities = ["pull", "resolve"]
[host."https://mirror.example:5000/v2/team"]
capabilities = ["pull"]
ca = ["own.crt", "/etc/other.crt"]
client = [["c.cert", "c.key"], ["both.pem", ""]]
skip_verify = false
override_path = true
dial_timeout = "1m1s"
credentials = "helper:ecr-login"
realms = ["auth.example:444"]
[host."https://mirror.example:5000/v2/team".header]
x-a = ["1", "2"]
""",
        """fallback = false
[prefix."library/"]
blocked = true
[prefix."team/app".host."[fd00::1]:5000"]
credentials = "file:docker.json"
""",
        'host = 7\n[proxy]\n["capabilitys"]\n',
        'server = "u:p@x"\nca = ""\ndial_timeout = "-1s"\n',
    )
    return [text.encode() for text in texts]


def _frames() -> list[bytes]:
    return [
        frames.count(Kind.PROGRESS, 77),
        *frames.paths(Kind.IMPLIED, [b"a/b", b".", b"c"]),
        frames.dropped("xattr", 3),
        frames.done(Done(1, 2, 3, 4, "a" * 64)),
        frames.failed(Failed("limit-exceeded", "too much", "layer_bytes")),
        frames.unfenced(3, "no"),
    ]
