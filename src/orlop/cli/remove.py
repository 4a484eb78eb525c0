"""``orlop rm``: names and images leave the store."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import exits, render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption
from orlop.errors import NotFound, OrlopError, PermissionDenied

if TYPE_CHECKING:
    from orlop.ports.service import ImageService


def remove(
    context: typer.Context,
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="REF...",
            help="A name removes this name, and the image with its last one; an id the image.",
        ),
    ],
    all_names: Annotated[
        bool, typer.Option("--all-names", help="Remove the image with all its names.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove pinned images, too.")] = False,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove images, by name or by id.

    What cannot be removed does not stop the rest; the first error decides the exit code.

    With -o json: a list of objects with "reference", "removed" and "error" (null, or why not).
    """

    async def work(service: "ImageService") -> "list[OrlopError | None]":
        return [
            await _remove(service, reference, all_names=all_names, force=force)
            for reference in references
        ]

    errors = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document(
            [
                {
                    "reference": reference,
                    "removed": error is None,
                    "error": error.message if error else None,
                }
                for reference, error in zip(references, errors, strict=True)
            ]
        )
    for reference, error in zip(references, errors, strict=True):
        if error is not None:
            render.error(error)
        elif output is Output.TABLE:
            render.say(f"removed {render.printable(reference)}")
    failed = [exits.exit_code(error) for error in errors if error is not None]
    if failed:
        raise typer.Exit(failed[0])


async def _remove(
    service: "ImageService", reference: str, *, all_names: bool, force: bool
) -> OrlopError | None:
    try:
        if not force and any(map(service.pinned, await service.images(reference))):
            return PermissionDenied(
                f"image {reference} is pinned", hint="use --force to remove it all the same"
            )
        remove = service.remove if all_names else service.remove_name
        if await remove(reference):
            return None
    except OrlopError as error:
        return error
    return NotFound(f"no such image: {reference}", hint="`orlop images` lists what is here")
