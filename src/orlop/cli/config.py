"""``orlop config``: what is configured, and what could be."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.options import Output, OutputOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.config.load import Loaded
    from orlop.config.sections import Section

app = typer.Typer(help="Show and check the configuration.", no_args_is_help=True)

FileOption = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="Default: /etc/orlop/config.toml, if there is one."
    ),
]


def plugin_sections() -> "Sequence[Section]":
    """Sections of the plugins that third parties installed."""
    from orlop.app import in_stock

    return in_stock().sections


@app.command()
def default() -> None:
    """Print the default configuration, with an explanation of every key."""
    from orlop.config.text import default_text

    render.say(default_text(plugin_sections()).rstrip("\n"))


@app.command()
def check(config: FileOption = None, output: OutputOption = Output.TABLE) -> None:
    """Read the configuration and tell what is wrong with it; installed plugins count.

    With -o json: an object with "warnings", a list of texts.
    """
    from orlop.app import in_stock

    stock, loaded = in_stock(), _loaded(config)
    warnings = (*loaded.warnings, *stock.select(loaded.config).warnings, *stock.warnings)
    if output is Output.JSON:
        render.document({"warnings": list(warnings)})
        return
    for warning in warnings:
        render.note(f"warning: {warning}")
    render.say(f"no errors, {len(warnings)} warnings")


@app.command()
def dump(config: FileOption = None, output: OutputOption = Output.TABLE) -> None:
    """Print the configuration that holds, defaults included, as TOML; secrets are hidden.

    With -o json: the same document as an object; the image service's part is at
    plugins["io.containerd.cri.v1.images"].
    """
    from orlop.config.text import document

    loaded = _loaded(config)
    for warning in loaded.warnings:
        render.note(f"warning: {warning}")
    whole = document(loaded.config, loaded.document, plugin_sections())
    if output is Output.JSON:
        render.document(whole)
    else:
        import tomlkit

        render.say(tomlkit.dumps(whole).rstrip("\n"))


@app.command()
def migrate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A document of any version.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a document in today's version, and report what became of each old key.

    The document goes to standard output as TOML, the report to standard error;
    imports are not followed. With -o json: the document as an object, and in it
    "report", a list of {"kind", "old", "new", "reason"}.
    """
    from orlop.config.keys import show
    from orlop.config.sources import parse, read

    steps = [section.migrate for section in plugin_sections() if section.migrate]
    migrated = parse(read(file), path=file, steps=steps).migrated
    if output is Output.JSON:
        report = [
            {
                "kind": change.kind,
                "old": show(change.old),
                "new": show(change.new),
                "reason": change.reason,
            }
            for change in migrated.changes
        ]
        render.document({**migrated.document, "report": report})
        return
    import tomlkit

    for change in migrated.changes:
        render.note(str(change))
    render.say(tomlkit.dumps(migrated.document).rstrip("\n"))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key, or the end of one.")],
    config: FileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what a key means, what its default is, and where its value comes from.

    With -o json: a list of {"key", "type", "default", "meaning", "value", "from"};
    "value" is null for keys that hold a name of your choice.
    """
    from orlop.config.explain import explain as explained

    found = explained(_loaded(config), key, plugin_sections())
    if output is Output.JSON:
        render.document([one.plain() for one in found])
        return
    for one in found:
        render.say(one.shown())


def _loaded(config: str | None) -> "Loaded":
    from orlop.config.load import load

    return load(config, sections=plugin_sections())
