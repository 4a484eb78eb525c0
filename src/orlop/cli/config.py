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
FileArgument = Annotated[
    str | None, typer.Argument(metavar="FILE", help="The same as --config FILE.")
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
def check(
    file: FileArgument = None, config: FileOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Read the configuration and tell what is wrong with it; installed plugins count.

    With -o json: an object with "warnings", a list of texts.
    """
    from orlop.app import in_stock

    stock, loaded = in_stock(), _loaded(file, config)
    warnings = (*loaded.warnings, *stock.select(loaded.config).warnings, *stock.warnings)
    if output is Output.JSON:
        render.document({"warnings": list(warnings)})
        return
    for warning in warnings:
        render.note(f"warning: {warning}")
    render.say(f"no errors, {len(warnings)} warnings")


@app.command()
def dump(
    file: FileArgument = None, config: FileOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Print the configuration that holds, defaults included, as TOML; secrets are hidden.

    Behind each value stands the file and the line that it comes from. With -o json:
    the same document as an object; the image service's part is at
    plugins["io.containerd.cri.v1.images"], and "provenance" has the places, by key.
    """
    from orlop.config.keys import show
    from orlop.config.text import document, for_json, provenance

    loaded = _loaded(file, config)
    for warning in loaded.warnings:
        render.note(f"warning: {warning}")
    whole = document(loaded.config, loaded.document, plugin_sections())
    places = provenance(loaded, whole)
    if output is Output.JSON:
        by_key = {show(key): place for key, place in places.items()}
        render.document(for_json({**whole, "provenance": by_key}))
    else:
        from orlop.config.toml import dumps

        render.say(dumps(whole, lambda key: render.printable(places[key])).rstrip("\n"))


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

    found = explained(_loaded(None, config), key, plugin_sections())
    if output is Output.JSON:
        render.document([one.plain() for one in found])
        return
    for one in found:
        render.say(one.shown())


def _loaded(file: str | None, config: str | None) -> "Loaded":
    from orlop.config.load import load

    if file is not None and config is not None:
        raise typer.BadParameter("name the file once, as FILE or with --config")
    return load(config if file is None else file, sections=plugin_sections())
