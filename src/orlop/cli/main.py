"""The command line as a whole: all commands, and the one place where errors end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import typer
from typer.main import get_command

from orlop.cli import (
    bundle,
    check,
    config,
    connect,
    daemon,
    df,
    exits,
    export,
    filesystems,
    gc,
    hosts,
    images,
    import_images,
    inspect,
    leases,
    migrate,
    mount,
    plugins,
    pull,
    reload,
    remove,
    render,
    unmount,
    version,
    why,
)
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "daemon": daemon.daemon,
    "pull": pull.pull,
    "import": import_images.import_images,
    "export": export.export,
    "images": images.images,
    "inspect": inspect.inspect,
    "rm": remove.remove,
    "mount": mount.mount,
    "unmount": unmount.unmount,
    "bundle": bundle.bundle,
    "fs": filesystems.filesystems,
    "df": df.df,
    "why": why.why,
    "check": check.check,
    "gc": gc.gc,
    "plugins": plugins.plugins,
    "version": version.version,
}

DEBUG: Final = "ORLOP_DEBUG"
"""Environment variable; anything in it shows where errors came from."""


def application() -> typer.Typer:
    """All commands, assembled."""
    app = typer.Typer(
        name="orlop",
        help="Pull, keep and mount container images.",
        no_args_is_help=True,
        # Plain help and plain errors: neither costs the import of rich.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        app.command(name)(command)
    config.app.command("reload")(reload.reload)
    config.app.command("migrate")(migrate.migrate)
    app.add_typer(config.app, name="config")
    app.add_typer(hosts.app, name="hosts")
    app.add_typer(leases.app, name="leases")
    return app


def main(
    arguments: Sequence[str] | None = None, *, connector: connect.Connector = connect.connect
) -> int:
    """Run one command; every error ends as a line on standard error and an exit code.

    Args:
        arguments: without the program's name; None takes the process's own.
        connector: gives the commands their image service.

    Returns:
        The exit code, see ``orlop.cli.exits``.
    """
    command = get_command(application())
    try:
        command.main(args=arguments, prog_name="orlop", obj=connector)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else exits.FAILED
    except OrlopError as error:
        _trace()
        render.error(error)
        return exits.exit_code(error)
    except OSError as error:
        _trace()
        render.note(str(error))
        return exits.FAILED
    except Exception as error:  # noqa: BLE001 (the last border: a defect ends in one line too)
        _trace()
        render.note(f"internal error: {type(error).__name__}: {error}")
        render.hint(f"set {DEBUG}=1 to see where")
        return exits.FAILED
    return exits.DONE


def _trace() -> None:
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exc()
