"""Which programs a layer goes through."""

from __future__ import annotations

import pytest

from orlop.errors import FailedPrecondition, UnsupportedMediaType
from orlop.model.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Compression
from orlop.pull.processing import NOTHING, Processing, Route, Step, StreamProcessor

SECRET = f"{OCI_LAYER_GZIP}+encrypted"


def processor(name: str, returns: str, *accepts: str) -> StreamProcessor:
    return StreamProcessor(name, accepts, returns, f"/bin/{name}")


OPENS = processor("opens", OCI_LAYER_GZIP, SECRET)


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [(OCI_LAYER, Compression.NONE), (OCI_LAYER_ZSTD, Compression.ZSTD)],
)
def test_a_layer_that_nobody_accepts_is_what_it_says(
    media_type: str, compression: Compression
) -> None:
    for processing in (NOTHING, Processing((OPENS,)), Processing((OPENS,), decrypt=False)):
        assert processing.route(media_type) == Route((), compression)


def test_one_program() -> None:
    assert Processing((OPENS,)).route(SECRET) == Route((Step(OPENS, SECRET),), Compression.GZIP)


def test_programs_in_a_row() -> None:
    first = processor("first", "app/second", "app/first")
    second = processor("second", OCI_LAYER, "app/other", "app/second")
    route = Processing((second, first)).route("app/first")
    assert route.steps == (Step(first, "app/first"), Step(second, "app/second"))
    assert route.compression is Compression.NONE


def test_of_several_the_first_one() -> None:
    other = processor("other", OCI_LAYER, SECRET)
    assert Processing((other, OPENS)).route(SECRET).steps[0].processor is other


def test_a_program_goes_before_our_own_decompression() -> None:
    gunzip = processor("gunzip", OCI_LAYER, OCI_LAYER_GZIP)
    route = Processing((OPENS, gunzip)).route(SECRET)
    assert [step.processor.id for step in route.steps] == ["opens", "gunzip"]
    assert route.compression is Compression.NONE


def test_keys_that_are_not_allowed() -> None:
    with pytest.raises(UnsupportedMediaType, match="image_decryption\\.key_model") as caught:
        Processing((OPENS,), decrypt=False).route(SECRET)
    assert "stream processor" in caught.value.hint


def test_keys_that_are_not_allowed_on_the_way_either() -> None:
    wraps = processor("wraps", SECRET, "app/wrapped")
    with pytest.raises(UnsupportedMediaType, match="key_model"):
        Processing((wraps, OPENS), decrypt=False).route("app/wrapped")


def test_an_encrypted_layer_that_nobody_opens() -> None:
    with pytest.raises(
        UnsupportedMediaType, match=r"is encrypted.*nothing here decrypts"
    ) as caught:
        NOTHING.route(SECRET)
    assert "[stream_processors]" in caught.value.hint


def test_what_comes_out_must_be_a_layer() -> None:
    with pytest.raises(UnsupportedMediaType, match="'text/plain' is no file system layer"):
        Processing((processor("a", "text/plain", SECRET),)).route(SECRET)


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_a_circle(names: str) -> None:
    ring = [
        processor(name, f"app/{following}", f"app/{name}")
        for name, following in zip(names, names[1:] + names[0], strict=True)
    ]
    with pytest.raises(FailedPrecondition, match="lead in a circle from media type 'app/a'"):
        Processing(tuple(ring)).route("app/a")
