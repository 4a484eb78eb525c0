"""Chain ids, against the definition in config.md."""

from __future__ import annotations

import hashlib

from orlop.model.chain import chain_ids
from orlop.model.digest import Digest

A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))


def _sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_no_layers_have_no_chain() -> None:
    assert chain_ids([]) == ()


def test_the_lowest_layer_is_its_own_chain() -> None:
    assert chain_ids([A]) == (A,)


def test_each_id_covers_all_below() -> None:
    first, second, third = chain_ids([A, B, C])
    assert first == A
    assert str(second) == _sha256(f"{A} {B}")
    assert str(third) == _sha256(f"{second} {C}")


def test_known_value() -> None:
    # Of two empty layers, 1024 NUL bytes each: computed with sha256sum.
    empty = Digest.parse("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
    assert empty == Digest.of(bytes(1024))
    assert str(chain_ids([empty, empty])[1]) == (
        "sha256:170b376f64fb30995c140276be3d71dfb256b308d86183ca3b22aa93a79ad548"
    )


def test_order_matters() -> None:
    assert chain_ids([A, B])[-1] != chain_ids([B, A])[-1]


def test_prefixes_share_their_chain() -> None:
    assert chain_ids([A, B, C])[:2] == chain_ids([A, B])


def test_chain_ids_are_sha256_whatever_the_diff_ids_are() -> None:
    wide = Digest.of(b"a", "sha512")
    assert chain_ids([wide])[0] == wide
    assert chain_ids([wide, wide])[1].algorithm == "sha256"
