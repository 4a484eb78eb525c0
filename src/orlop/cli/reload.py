"""``orlop config reload``: the daemon reads its configuration again."""

from typing import TYPE_CHECKING

from orlop.cli import render
from orlop.cli.connect import administer, endpoint
from orlop.cli.options import AddressOption, Output, OutputOption

if TYPE_CHECKING:
    from orlop.plugins.host import Host, Reloaded


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
