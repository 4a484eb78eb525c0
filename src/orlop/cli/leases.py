"""``orlop leases``: what is kept from being collected, whatever else becomes of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption
from orlop.model.labels import GC_FLAT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.service import HeldLease, ImageService

app = typer.Typer(help="List, add and remove leases, which keep things from being collected.")


@app.callback(invoke_without_command=True)
def leases(
    context: typer.Context,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List leases, or add and remove them; what they keep is not collected.

    With -o json: a list of objects with "id", "created_at", "expires_at" (null: never),
    "flat", "labels" and "resources" (a list of objects with "kind" and "id"). `add` prints
    one of them.
    """
    if context.invoked_subcommand is not None:
        if address or root:
            raise typer.BadParameter(
                f"write --address and --root behind {context.invoked_subcommand}"
            )
        return

    async def work(service: "ImageService") -> "Sequence[HeldLease]":
        return await service.leases()

    found = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document([_json(held) for held in found])
        return
    rows = [
        (
            render.printable(held.lease.id),
            render.time(held.lease.created_at) or "",
            render.time(held.lease.expires_at) or "never",
            "yes" if _is_flat(held) else "no",
            str(len(held.resources)),
        )
        for held in found
    ]
    render.table(("LEASE", "CREATED", "EXPIRES", "FLAT", "KEEPS"), rows)


@app.command()
def add(
    context: typer.Context,
    things: Annotated[
        list[str],
        typer.Argument(
            metavar="REF|DIGEST|SNAPSHOT...",
            help="An image, the whole digest of a blob, or the key of a snapshot.",
        ),
    ],
    id_: Annotated[
        str, typer.Option("--id", metavar="ID", help="What to call it. Default: made up.")
    ] = "",
    expires: Annotated[
        str,
        typer.Option(
            "--expires",
            "-x",
            metavar="DURATION",
            help='How long it lasts, such as "24h". Default: until it is removed.',
        ),
    ] = "0",
    flat: Annotated[
        bool,
        typer.Option(
            "--flat",
            help="Keep what is listed and the parents of snapshots, not what that refers to.",
        ),
    ] = False,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a lease, and print its id.

    An image is kept by its manifest and its topmost snapshot. Without a name it is listed
    no more, but its next pull finds all of it here; with --flat only its files.
    """
    from orlop.config.durations import Duration
    from orlop.ports.service import LeaseOptions

    options = LeaseOptions(id=id_, seconds=Duration.parse(expires).seconds, flat=flat)

    async def work(service: "ImageService") -> "HeldLease":
        return await service.add_lease(things, options)

    held = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document(_json(held))
    else:
        render.say(render.printable(held.lease.id))


@app.command("rm")
def remove(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="LEASE...", help="Ids of leases.")],
    address: AddressOption = None,
    root: RootOption = None,
) -> None:
    """Remove leases, and what nothing else keeps."""

    async def work(service: "ImageService") -> None:
        for id_ in ids:
            await service.remove_lease(id_)
            render.say(f"removed {render.printable(id_)}")

    run(context, endpoint(address, root), work)


def _is_flat(held: "HeldLease") -> bool:
    return GC_FLAT in held.lease.labels


def _json(held: "HeldLease") -> dict[str, object]:
    return {
        "id": held.lease.id,
        "created_at": render.time(held.lease.created_at),
        "expires_at": render.time(held.lease.expires_at),
        "flat": _is_flat(held),
        "labels": dict(held.lease.labels),
        "resources": [{"kind": one.kind, "id": one.id} for one in held.resources],
    }
