"""What is fuzzed: one function for each parser of foreign bytes.

A target returns, or raises nothing but an error of ours (``OrlopError``): anything else
is a finding. Where there is more to say than that it ends, it is asserted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

from orlop.config.hosts import HostURL, Rules
from orlop.config.hosts_parse import parse as parse_hosts
from orlop.config.load import loads
from orlop.errors import HostsInvalid, InvalidArgument, OrlopError
from orlop.model import manifest
from orlop.model.image import parse_config
from orlop.model.layerpath import normalise
from orlop.model.limits import Limits
from orlop.model.mediatype import Compression
from orlop.model.platform import Platform
from orlop.model.reference import Reference, from_user
from orlop.model.tar import Entry, TarParser
from orlop.registry import challenge
from orlop.registry.retry import Outcome, RetryPolicy, delay, retry_after
from orlop.registry.tokens import parse as parse_token
from orlop.unpack import frames
from orlop.unpack.decompress import MAGIC_BYTES, decompressor, sniff

Target: TypeAlias = Callable[[bytes], None]

SMALL: Final = Limits(
    layer_entries=200,
    tar_extension_bytes=4096,
    sparse_regions=40,
    layer_bytes=4 << 20,
    zstd_window_bytes=1 << 20,
)
"""Bounds that a fuzzer can reach."""

_CHUNKS: Final = (1 << 20, 511, 7)
_NOW: Final = 1_700_000_000.0
_HOSTS: Final = "/etc/orlop/certs.d/registry.example/hosts.toml"


def tar(data: bytes) -> None:
    """A layer's archive: the same entries and bytes however it is cut."""
    outcomes = [_tar_events(data, chunk) for chunk in _CHUNKS]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def gzip(data: bytes) -> None:
    """A gzip stream: the same bytes however it is cut."""
    _compressed(b"\x1f\x8b" + data, Compression.GZIP)


def zstd(data: bytes) -> None:
    """A zstd stream: the same bytes however it is cut."""
    _compressed(b"\x28\xb5\x2f\xfd" + data, Compression.ZSTD)


def documents(data: bytes) -> None:
    """A manifest, an index or an image config; the first byte says how it was announced."""
    announced = (
        "",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )[data[0] & 3 if data else 0]
    with suppress(OrlopError):
        found = manifest.parse(data[1:], media_type=announced)
        if isinstance(found, manifest.Manifest):
            manifest.require_image(found)
        else:
            manifest.select(found, Platform("linux", "amd64"))
    with suppress(OrlopError):
        parse_config(data[1:])


def reference(data: bytes) -> None:
    """A reference: what is accepted is written as it will be read again."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (Reference.parse, from_user):
        with suppress(OrlopError):
            found = parse(text)
            assert Reference.parse(str(found)) == found
            assert from_user(found.familiar) == from_user(str(found))
    with suppress(OrlopError):
        Platform.parse(text, Platform("linux", "amd64")).normalised()
    with suppress(OrlopError):
        path = normalise(data)
        assert path == normalise(path)
        assert b".." not in path.split(b"/")


def headers(data: bytes) -> None:
    """Challenges, Retry-After and the answers of token services."""
    text = data.decode("latin-1")
    with suppress(OrlopError):
        challenge.choose(challenge.parse(text.split("\n")))
    wait = retry_after(text, now=_NOW)
    assert wait is None or wait >= 0
    pause = delay(RetryPolicy(), Outcome(429, text), attempt=1, jitter=1.0, now=_NOW)
    assert pause is None or 0 <= pause <= 70
    with suppress(OrlopError):
        token, life = parse_token(data, "auth.example")
        assert token.isascii()
        assert token.isprintable()
        assert 0 < life <= 3600


def worker_frames(data: bytes) -> None:
    """What a worker that was taken over says."""
    parsers: tuple[Callable[[bytes], object], ...] = (
        frames.kind_of,
        frames.parse_count,
        frames.parse_paths,
        frames.parse_dropped,
        frames.parse_done,
        frames.parse_failed,
        frames.parse_unfenced,
    )
    for parse in parsers:
        with suppress(OrlopError):
            parse(data)


def configuration(data: bytes) -> None:
    """A configuration document: refused by name and line, or read."""
    refused = ""
    try:
        loads(data, name="document")
    except InvalidArgument as error:
        refused = error.message
    assert not refused or refused.startswith("document")
    assert "\n" not in refused


def hosts(data: bytes) -> None:
    """A ``hosts.toml``: refused by name and line, or rules that say who is asked."""
    refused = ""
    found: tuple[Rules, ...] = ()
    warnings: tuple[str, ...] = ()
    try:
        file = parse_hosts(data, path=_HOSTS)
        found = (file.rules, *(rules for _, rules in file.prefixes))
        warnings = file.warnings
    except HostsInvalid as error:
        refused = error.message
    assert not refused or refused.startswith(f"{_HOSTS}:")
    assert all("\n" not in text for text in (refused, *warnings))
    for entry in (entry for rules in found for entry in (rules.server, *rules.hosts)):
        assert entry.url is None or HostURL.parse(str(entry.url)) == entry.url
        assert all(path.startswith("/") for path in entry.ca)
        assert all("\n" not in value for _, value in entry.headers)


TARGETS: Final[dict[str, Target]] = {
    "configuration": configuration,
    "documents": documents,
    "gzip": gzip,
    "headers": headers,
    "hosts": hosts,
    "reference": reference,
    "tar": tar,
    "worker_frames": worker_frames,
    "zstd": zstd,
}
"""All targets, by the name of their corpus."""


def _tar_events(data: bytes, chunk: int) -> tuple[list[object], bytes, str]:
    parser = TarParser(SMALL)
    entries: list[object] = []
    content = bytearray()
    try:
        for at in range(0, len(data), chunk):
            for event in parser.feed(data[at : at + chunk]):
                if isinstance(event, Entry):
                    entries.append([getattr(event, name) for name in Entry.__slots__])
                else:
                    content += event
        parser.close()
    except OrlopError as error:
        return entries, bytes(content), error.reference
    return entries, bytes(content), ""


def _compressed(data: bytes, kind: Compression) -> None:
    """The same stream, cut in two ways.

    One may fail where the other does not: a zstd frame that lies about its length is
    noticed when it comes at once only; the diffID notices it in any case.
    """
    assert sniff(data) is kind
    whole, failure = _decompressed(data, kind, len(data))
    pieces, other = _decompressed(data, kind, 3)
    # Before an error, how much has come out is the decoder's affair.
    assert pieces == whole or failure or other
    assert whole.startswith(pieces) or pieces.startswith(whole)


def _decompressed(data: bytes, kind: Compression, chunk: int) -> tuple[bytes, str]:
    stream = decompressor(data[:MAGIC_BYTES], kind, SMALL)
    out = bytearray()
    try:
        for at in range(0, len(data), chunk):
            for piece in stream.feed(data[at : at + chunk]):
                out += piece
                if len(out) > SMALL.layer_bytes:
                    return bytes(out[: SMALL.layer_bytes]), "too long"
        stream.close()
    except OrlopError as error:
        return bytes(out), error.reference
    return bytes(out), ""
