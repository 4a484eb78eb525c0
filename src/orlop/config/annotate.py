"""What a field of a schema says about its key: an explanation, and a check.

Pure. A schema is a frozen ``msgspec.Struct`` whose fields all have defaults::

    class Example(Struct, frozen=True, kw_only=True):
        root_path: Annotated[str, key("Where it works.", values.absolute_path)] = "/srv"
        peers: Annotated[tuple[Annotated[str, element(values.host)], ...], key("Who.")] = ()

Ranges are msgspec's own: ``Meta(ge=0, le=10)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, get_args, get_origin

from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK = "check"
"""Key in ``Meta.extra`` of the function (see ``orlop.config.values``) that a value must pass."""


def key(text: str, check: Callable[..., None] | None = None) -> Meta:
    """Explanation of a key and the check of its value."""
    return Meta(description=text, extra={CHECK: check} if check else None)


def element(check: Callable[..., None]) -> Meta:
    """The check of an element of an array or a table, or of a name in a table."""
    return Meta(extra={CHECK: check})


def split_annotations(kind: object) -> tuple[object, tuple[Meta, ...]]:
    """Part a field's type from its annotations; only msgspec's are kept."""
    if get_origin(kind) is not Annotated:
        return kind, ()
    bare, *extras = get_args(kind)
    return bare, tuple(extra for extra in extras if isinstance(extra, Meta))
