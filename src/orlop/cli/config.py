"""``orlop config``: what is configured, and what could be."""

from typing import Annotated

import typer

from orlop.cli import render
from orlop.cli.options import Output, OutputOption

app = typer.Typer(help="Show and check the configuration.", no_args_is_help=True)

FileOption = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="Default: /etc/orlop/config.toml, if there is one."
    ),
]


@app.command()
def default() -> None:
    """Print the default configuration, with an explanation of every key."""
    from orlop.config.text import default_text

    render.say(default_text().rstrip("\n"))


@app.command()
def check(config: FileOption = None, output: OutputOption = Output.TABLE) -> None:
    """Read the configuration and tell what is wrong with it.

    With -o json: an object with "warnings", a list of texts.
    """
    from orlop.config.load import load

    warnings = load(config).warnings
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
    from orlop.config.load import load
    from orlop.config.text import document

    loaded = load(config)
    for warning in loaded.warnings:
        render.note(f"warning: {warning}")
    whole = document(loaded.config, loaded.document)
    if output is Output.JSON:
        render.document(whole)
    else:
        import tomlkit

        render.say(tomlkit.dumps(whole).rstrip("\n"))
