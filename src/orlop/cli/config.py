"""``orlop config``: what is configured, and what could be."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import administer, endpoint
from orlop.cli.options import AddressOption, Output, OutputOption

if TYPE_CHECKING:
    from orlop.plugins.host import Host, Reloaded

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
    from orlop.app import in_stock
    from orlop.config.text import default_text

    render.say(default_text(in_stock().sections).rstrip("\n"))


@app.command()
def check(config: FileOption = None, output: OutputOption = Output.TABLE) -> None:
    """Read the configuration and tell what is wrong with it; installed plugins count.

    With -o json: an object with "warnings", a list of texts.
    """
    from orlop.app import in_stock

    stock = in_stock()
    loaded = stock.load(config)
    warnings = (*loaded.warnings, *stock.select(loaded.config).warnings, *stock.warnings)
    if output is Output.JSON:
        render.document({"warnings": list(warnings)})
        return
    for warning in warnings:
        render.note(f"warning: {warning}")
    render.say(f"no errors, {len(warnings)} warnings")


@app.command()
def reload(address: AddressOption = None, output: OutputOption = Output.TABLE) -> None:
    """Let the daemon read its configuration again, as SIGHUP does.

    Says which keys have changed and hold now, and which wait for a restart. A
    document with a mistake is refused, and the old configuration stays in force.
    With -o json: an object with "applied", "restart" and "warnings", lists of texts.
    """

    async def work(host: "Host") -> "Reloaded":
        return await host.reload()

    done = administer(endpoint(address, None), work)
    if output is Output.JSON:
        render.document(
            {
                "applied": list(done.applied),
                "restart": list(done.restart),
                "warnings": list(done.warnings),
            }
        )
        return
    for warning in done.warnings:
        render.note(f"warning: {warning}")
    for key in done.applied:
        render.say(f"applied: {key}")
    for key in done.restart:
        render.say(f"needs a restart: {key}")
    if not (done.applied or done.restart):
        render.say("nothing has changed")


@app.command()
def dump(config: FileOption = None, output: OutputOption = Output.TABLE) -> None:
    """Print the configuration that holds, defaults included, as TOML; secrets are hidden.

    With -o json: the same document as an object; the image service's part is at
    plugins["io.containerd.cri.v1.images"].
    """
    from orlop.app import in_stock
    from orlop.config.text import document

    stock = in_stock()
    loaded = stock.load(config)
    for warning in loaded.warnings:
        render.note(f"warning: {warning}")
    whole = document(loaded.config, loaded.document, stock.sections)
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
    from orlop.app import in_stock
    from orlop.config.keys import show
    from orlop.config.sources import parse, read

    steps = [section.migrate for section in in_stock().sections if section.migrate]
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
    from orlop.app import in_stock
    from orlop.config.explain import explain as explained

    stock = in_stock()
    found = explained(stock.load(config), key, stock.sections)
    if output is Output.JSON:
        render.document([one.plain() for one in found])
        return
    for one in found:
        render.say(one.shown())
