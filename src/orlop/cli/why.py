"""``orlop why``: what keeps an image, a blob or a snapshot."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.gc import Chain, Explanation
    from orlop.ports.service import ImageService

_SHOWN = 10
"""Chains that a person gets to see; a layer can be in a thousand images."""

_DIGEST = re.compile(r"(?:^|/)sha(?:256|512):[0-9a-f]+$")

_KINDS = {"content": "blob"}
"""What the field calls a kind of thing, if not as we do."""


def why(
    context: typer.Context,
    text: Annotated[
        str,
        typer.Argument(
            metavar="REF|DIGEST|SNAPSHOT",
            help="An image, a digest or the start of one, or the key of a snapshot.",
        ),
    ],
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what keeps an image, a blob or a snapshot in the store, and for how long.

    With -o json: a list of objects with "namespace", "kind", "id", "bytes", "expires_at"
    (null: not by itself) and "chains". A chain has "keeper", "id", "detail", "expires_at"
    and "links" ("by", "kind" and "id" of each); none means that the next collection
    removes the thing.
    """

    async def work(service: "ImageService") -> "Sequence[Explanation]":
        return await service.why(text)

    found = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document([_json(one) for one in found])
        return
    for one in found:
        _show(one)


def _show(explanation: "Explanation") -> None:
    thing = f"{_kind(explanation.kind)} {explanation.id}"
    size = f", {render.size(explanation.bytes)}" if explanation.bytes else ""
    render.say(f"{render.printable(thing)} in {explanation.namespace}{size}")
    if not explanation.chains:
        render.say("  nothing keeps it: the next collection removes it")
    for chain in explanation.chains[:_SHOWN]:
        render.say(f"  kept by {render.printable(_keeper(chain))}")
        for link in chain.links[1:]:
            what = "this" if link is chain.links[-1] else f"{_kind(link.kind)} {_short(link.id)}"
            render.say(f"    {render.printable(f'{link.by}: {what}')}")
    if len(explanation.chains) > _SHOWN:
        left = len(explanation.chains) - _SHOWN
        render.say(f"  and by {left} more; -o json has them all")
    if explanation.expires_at:
        render.say(f"  it goes after {render.time(explanation.expires_at)}")


def _keeper(chain: "Chain") -> str:
    start = f"{_kind(chain.links[0].kind)} {chain.links[0].id}"
    what = {
        "name": f"the name {chain.id}",
        "lease": f"the lease {chain.id} on {start}",
        "label": f"the label {chain.id} on {start}",
        "snapshot": f"the {chain.id} {start}",
        "pull": f"the pull of {chain.id or 'an image'}",
    }[chain.keeper]
    if chain.detail:
        what += f", mounted on {chain.detail}"
    if chain.expires_at:
        what += f", until {render.time(chain.expires_at)}"
    return what


def _short(id_: str) -> str:
    """Digests as tables show them; names, and keys that are no digests, whole."""
    return render.short_id(id_) if _DIGEST.search(id_) else id_


def _kind(kind: str) -> str:
    return _KINDS.get(kind, kind)


def _json(explanation: "Explanation") -> dict[str, object]:
    return {
        "namespace": explanation.namespace,
        "kind": explanation.kind,
        "id": explanation.id,
        "bytes": explanation.bytes,
        "expires_at": render.time(explanation.expires_at),
        "chains": [
            {
                "keeper": chain.keeper,
                "id": chain.id,
                "detail": chain.detail,
                "expires_at": render.time(chain.expires_at),
                "links": [
                    {"by": link.by, "kind": link.kind, "id": link.id} for link in chain.links
                ],
            }
            for chain in explanation.chains
        ],
    }
