"""``orlop config migrate``: a document of any age in today's version."""

# No "from __future__ import annotations": typer reads the types below at run time.
import os
from typing import TYPE_CHECKING, Annotated, cast

import typer

from orlop.cli import render
from orlop.cli.config import plugin_sections
from orlop.cli.options import Output, OutputOption
from orlop.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.config.draft import Change
    from orlop.config.hosts_move import Moved
    from orlop.config.migrate import Migrated


def migrate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A document of any version.")],
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write the new document over the old one.")
    ] = False,
    backup: Annotated[
        bool, typer.Option("--backup", help="Keep the old document as FILE.bak, FILE.bak.1, ...")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write it also if a value gets lost.")
    ] = False,
    hosts: Annotated[
        str | None,
        typer.Option(
            "--hosts", metavar="DIR", help="Move registry.mirrors to HOST/hosts.toml files in DIR."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a document in today's version, and report what became of each old key.

    The document goes to standard output as TOML, with its comments, the report to
    standard error; imports are not followed. With -o json: the document as an object,
    and in it "report", a list of {"kind", "old", "new", "reason", "file", "line"}.
    """
    from orlop.config.load import combined
    from orlop.config.sources import parse, read

    if backup and not in_place:
        raise typer.BadParameter("--backup needs --in-place")
    source = parse(read(file), path=file)
    migrated = combined([source], plugin_sections())
    moved = _to_hosts(migrated, hosts) if hosts is not None else None
    migrated = moved.migrated if moved else migrated
    if in_place and not force:
        _refuse_loss(file, migrated.changes)
    _report(migrated, output)
    if moved and moved.files:
        _write_hosts(os.path.abspath(cast("str", hosts)), moved)
    if not in_place and output is Output.JSON:
        return
    from orlop.config.rewrite import rewritten

    text = rewritten(source.text, source.written.document, migrated)
    if in_place:
        _replace(file, text, old=source.text, backup=backup)
    else:
        render.say(text.rstrip("\n"))


def _report(migrated: "Migrated", output: Output) -> None:
    from orlop.config.keys import show
    from orlop.config.text import for_json

    if output is Output.JSON:
        report = [
            {
                "kind": change.kind,
                "old": show(change.old),
                "new": show(change.new),
                "reason": change.reason,
                "file": change.where.path,
                "line": change.where.line,
            }
            for change in migrated.changes
        ]
        render.document(for_json({**migrated.document, "report": report}))
        return
    for change in migrated.changes:
        render.note(f"{change.where}: {change}")


def _refuse_loss(file: str, changes: "Sequence[Change]") -> None:
    from orlop.config.keys import show

    lost = [show(change.old) for change in changes if change.loses]
    if lost:
        raise FailedPrecondition(
            f"{file}: {len(lost)} values would get lost: {', '.join(lost)}",
            hint="see `orlop config migrate FILE` for the reasons; --force loses them",
        )


def _replace(file: str, text: str, *, old: str, backup: bool) -> None:
    from orlop.config.replace import replace

    if text == old:
        render.note(f"{file}: it is of today's version already")
        return
    kept = replace(file, text, backup=backup)
    render.note(f"{file}: written" + (f"; the old document is {kept}" if kept else ""))


def _to_hosts(migrated: "Migrated", directory: str) -> "Moved":
    from orlop.config.hosts_export import hosts_files
    from orlop.config.hosts_move import move_to_hosts

    if ":" in directory:
        raise InvalidArgument("--hosts: a directory of registry.config_path has no colon")
    return move_to_hosts(migrated, os.path.abspath(directory), hosts_files)


def _write_hosts(directory: str, moved: "Moved") -> None:
    from orlop.config.hosts_move import REGISTRY
    from orlop.config.keys import show
    from orlop.config.replace import write_new

    for path in write_new(directory, moved.files, private=moved.private):
        render.note(f"{path}: written")
    for name in moved.left:
        render.note(f"{show((*REGISTRY, name))}: it stays, for it holds credentials")
