"""``orlop daemon``: serves images until it is told to stop."""

import os
import sys
from typing import Annotated

import typer

from orlop.cli import exits


def daemon(
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="Default: /etc/orlop/config.toml, if there is one."
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="The store. Default: /var/lib/orlop, or ~/.local/share/orlop without root.",
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="DIR", help="What no restart needs. Default: /run/orlop."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="URL",
            help="Socket to serve on. Default: unix:///run/orlop/orlop.sock.",
        ),
    ] = None,
) -> None:
    """Serve images over CRI until SIGTERM.

    Options win over the configuration file.
    """
    from orlop.linux.userns import become_root

    user = os.geteuid()
    become_root()  # before gRPC, which forks badly
    # Where there is rich, structlog loads it to draw tracebacks on terminals. Logs are lines.
    sys.modules["rich"] = None  # type: ignore[assignment]  # None: there is none
    from orlop.daemon import main

    code = main(config, root, state, address, user=user)
    if code != exits.DONE:
        raise typer.Exit(code)
