"""Documents: any bytes give a value or one of our errors, never anything else."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import ImageInvalid, LimitExceeded, ManifestInvalid, UnsupportedMediaType
from orlop.model import mediatype
from orlop.model.chain import chain_ids
from orlop.model.digest import Digest
from orlop.model.document import decode
from orlop.model.image import check_pair, parse_config, split_user
from orlop.model.manifest import Index, Manifest, parse, require_image, select
from orlop.model.platform import Platform

REFUSALS = (ImageInvalid, UnsupportedMediaType, LimitExceeded)
HERE = Platform("linux", "amd64")

plain_text = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(-1e15, 1e15)
scalars = st.none() | st.booleans() | numbers | plain_text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_text, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(plain_text, values, max_size=5)


def nearly(
    good: dict[str, st.SearchStrategy[object]],
) -> st.SearchStrategy[dict[str, object]]:
    """Objects with all the good fields, of which at most two are absent or anything else."""
    spoiled = st.dictionaries(st.sampled_from(sorted(good)) | plain_text, values, max_size=2)
    return st.builds(
        lambda fields, bad, spoil: fields | bad if spoil else fields,
        st.fixed_dictionaries(good),
        spoiled,
        st.sampled_from([False, False, True]),
    )


digest_texts = st.sampled_from([str(Digest.of(b"a")), str(Digest.of(b"b", "sha512"))])
media_types = st.sampled_from(
    sorted(
        mediatype.INDEX_TYPES
        | mediatype.MANIFEST_TYPES
        | mediatype.CONFIG_TYPES
        | mediatype.LAYER_TYPES
        | mediatype.SCHEMA1_TYPES
        | mediatype.UNSPECIFIC_TYPES
    )
)


def descriptors(*kinds: str) -> st.SearchStrategy[dict[str, object]]:
    return nearly(
        {
            "mediaType": st.sampled_from(kinds),
            "digest": digest_texts,
            "size": st.just(1),
            "data": st.sampled_from([None, "YQ==", "!"]),
            "platform": nearly(
                {
                    "os": st.sampled_from(["linux", "linux", "unknown"]),
                    "architecture": st.sampled_from(["amd64", "arm64"]),
                }
            ),
        }
    )


images = nearly(
    {
        "schemaVersion": st.just(2),
        "mediaType": st.sampled_from([mediatype.OCI_MANIFEST, None]),
        "config": descriptors(mediatype.OCI_CONFIG).map(
            lambda fields: fields | {"digest": str(Digest.of(b"config"))}
        ),
        "layers": st.lists(descriptors(mediatype.OCI_LAYER), max_size=3),
        "annotations": st.dictionaries(plain_text, plain_text, max_size=2),
    }
)
indexes = nearly(
    {
        "schemaVersion": st.just(2),
        "mediaType": st.sampled_from([mediatype.OCI_INDEX, None]),
        "manifests": st.lists(descriptors(mediatype.OCI_MANIFEST, "other/type"), max_size=3),
    }
)
given_types = st.sampled_from(["", "", "application/json"]) | media_types
configs = nearly(
    {
        "architecture": st.sampled_from(["amd64", "x86_64", ""]),
        "os": st.just("linux"),
        "rootfs": nearly(
            {"type": st.just("layers"), "diff_ids": st.lists(digest_texts, max_size=3)}
        ),
        "config": nearly(
            {
                "User": st.sampled_from(["0", "root", "-1", "4294967296"]) | plain_text,
                "Env": st.lists(plain_text, max_size=2),
                "Labels": st.dictionaries(plain_text, plain_text, max_size=2),
                "Volumes": st.dictionaries(plain_text, st.just({}), max_size=2),
            }
        ),
    }
)


@given(objects, st.booleans(), st.sampled_from([None, 2]))
def test_decode_agrees_with_the_standard_library(
    value: dict[str, object], escape: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=escape, indent=indent).encode()
    assert decode(raw, "thing").fields == value


@given(st.binary(max_size=64) | st.text(st.sampled_from('{}[]",:\\u dD890eNa\n')).map(str.encode))
def test_decode_refuses_with_one_error_only(raw: bytes) -> None:
    with contextlib.suppress(ManifestInvalid):
        node = decode(raw, "thing")
        # What was accepted has one meaning, and can be written again.
        assert json.loads(raw) == node.fields
        json.dumps(node.fields, ensure_ascii=False, allow_nan=False).encode()


@given(objects, st.data())
def test_a_changed_byte_is_refused_or_gives_one_meaning(
    value: dict[str, object], data: st.DataObject
) -> None:
    raw = bytearray(json.dumps(value).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ManifestInvalid):
        assert decode(bytes(raw), "thing").fields == json.loads(bytes(raw))


@settings(max_examples=200)
@given(images | indexes, given_types)
def test_manifests_give_a_value_or_a_refusal(document: dict[str, object], given_as: str) -> None:
    raw = json.dumps(document).encode()
    with contextlib.suppress(*REFUSALS):
        parsed = parse(raw, media_type=given_as)
        assert parsed.raw == raw
        assert parsed.digest == Digest.of(raw)
        # Reading it again as what it was found to be changes nothing.
        assert parse(raw, media_type=parsed.media_type) == parsed
        if isinstance(parsed, Index):
            assert select(parsed, HERE) in parsed.manifests
        else:
            require_image(parsed)
            for layer in parsed.layers:
                mediatype.layer_compression(layer.media_type)


@settings(max_examples=200)
@given(configs)
def test_configs_give_a_value_or_a_refusal(document: dict[str, object]) -> None:
    raw = json.dumps(document).encode()
    with contextlib.suppress(*REFUSALS):
        config = parse_config(raw)
        assert config.digest == Digest.of(raw)
        assert config.platform == config.platform.normalised()
        uid, name = split_user(config.user)
        assert uid is None or (0 <= uid < 2**31 and name == "")


@given(images, configs)
def test_pairs_that_pass_have_a_diff_id_for_each_layer(
    document: dict[str, object], config_document: dict[str, object]
) -> None:
    with contextlib.suppress(*REFUSALS):
        manifest = parse(json.dumps(document).encode(), media_type="")
        config = parse_config(json.dumps(config_document).encode())
        if isinstance(manifest, Manifest):
            check_pair(manifest, config)
            assert len(manifest.layers) == len(config.diff_ids)


@given(st.lists(st.binary(max_size=3), max_size=6))
def test_chains_of_prefixes_are_prefixes(contents: list[bytes]) -> None:
    diff_ids = [Digest.of(content) for content in contents]
    chain = chain_ids(diff_ids)
    assert len(chain) == len(diff_ids)
    for length in range(len(diff_ids)):
        assert chain_ids(diff_ids[:length]) == chain[:length]


@given(plain_text)
def test_split_user_takes_any_text(user: str) -> None:
    uid, name = split_user(user)
    assert uid is None or name == ""
    assert ":" not in name
