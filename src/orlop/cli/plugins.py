"""``orlop plugins``: what the service is made of."""

from typing import TYPE_CHECKING

from orlop.cli import render
from orlop.cli.connect import administer, endpoint
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.plugins.host import Host, PluginState


def plugins(
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the plugins, those of other distributions included, and what became of each.

    Those that run come first, in the order of their start. With -o json: a list of
    {"type", "id", "state", "reason", "requires", "exports"}; "state" is "loaded",
    "skipped" or "failed", "exports" an object of texts.
    """

    async def work(host: "Host") -> "Sequence[PluginState]":
        return await host.plugins()

    found = administer(endpoint(address, root), work)
    if output is Output.JSON:
        render.document([_json(one) for one in found])
        return
    render.table(
        ("TYPE", "ID", "STATE", "ABOUT"),
        [(one.type, one.id, one.state, one.reason or _facts(one)) for one in found],
    )


def _facts(state: "PluginState") -> str:
    return ", ".join(f"{name}={fact}" for name, fact in sorted(state.exports.items()))


def _json(state: "PluginState") -> dict[str, object]:
    return {
        "type": state.type,
        "id": state.id,
        "state": state.state,
        "reason": state.reason,
        "requires": list(state.requires),
        "exports": dict(state.exports),
    }
