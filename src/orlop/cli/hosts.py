"""``orlop hosts``: which servers stand behind a name."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.config import FileOption
from orlop.cli.options import Output, OutputOption

if TYPE_CHECKING:
    from orlop.model.reference import Reference
    from orlop.registry.credentials import CredentialFinder
    from orlop.registry.finder import Planned
    from orlop.registry.hosts import Endpoint
    from orlop.registry.settings import RegistrySettings

app = typer.Typer(help="Show what is configured about registry hosts.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Show what is configured about registry hosts."""


@app.command()
def explain(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="An image, as NAME[:TAG][@DIGEST].")
    ],
    config: FileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say whom a pull would ask, in which order and how, and why; asks nobody.

    Reads the same files as a pull does, with this command's rights, and shows no secret.
    With -o json: an object with "reference", "rules" (FILE:LINE, or ""), "fallback",
    "hosts", "looked" and "warnings"; a host has "url", "upstream", "namespace",
    "capabilities", "ca", "client", "skip_verify", "connect_timeout" (seconds), "headers"
    (names), "credentials", "realms" and "where".
    """
    from orlop.config.load import load
    from orlop.model.reference import from_user
    from orlop.registry.configure import registry_settings
    from orlop.registry.credentials import CredentialFinder
    from orlop.registry.finder import HostFinder
    from orlop.registry.hosts import canonical

    image = from_user(reference)
    settings = registry_settings(load(config).config.images.registry)
    planned = HostFinder(settings).find(image)
    finder = CredentialFinder(
        None, registry=canonical(image.domain.lower()), configured=settings.auths
    )
    if output is Output.JSON:
        render.document(_document(image, planned, settings, finder))
    else:
        _show(image, planned, settings, finder)


def _document(
    image: "Reference", planned: "Planned", settings: "RegistrySettings", finder: "CredentialFinder"
) -> dict[str, object]:
    plan = planned.plan
    return {
        "reference": str(image),
        "rules": plan.where,
        "fallback": plan.fallback,
        "hosts": [_host(one, settings, finder) for one in plan.endpoints],
        "looked": [{"path": one.path, "found": one.found} for one in planned.looked],
        "warnings": list(planned.warnings),
    }


def _host(
    one: "Endpoint", settings: "RegistrySettings", finder: "CredentialFinder"
) -> dict[str, object]:
    return {
        "url": f"{one.origin}{one.prefix}",
        "upstream": one.upstream,
        "namespace": one.namespace,
        "capabilities": sorted(one.capabilities),
        "ca": list(one.tls.ca_files),
        "client": [list(filter(None, pair)) for pair in one.tls.client_certs],
        "skip_verify": one.tls.skip_verify,
        "connect_timeout": one.connect_timeout or settings.connect_timeout,
        "headers": [name for name, _ in one.headers],
        "credentials": finder.told(one),
        "realms": list(one.realms),
        "where": one.where,
    }


def _show(
    image: "Reference", planned: "Planned", settings: "RegistrySettings", finder: "CredentialFinder"
) -> None:
    plan = planned.plan
    for warning in planned.warnings:
        render.note(f"warning: {warning}")
    pairs = [("image", str(image)), ("rules", plan.where or "none")]
    pairs += [("looked at", f"{one.path}: {one.found}") for one in planned.looked]
    render.fields([*pairs, ("fallback", plan.fallback)])
    for number, one in enumerate(plan.endpoints, start=1):
        render.say("")
        head = (f"host {number}", f"{one.origin}{one.prefix}")
        render.fields([head, *_lines(one, settings), ("  credentials", finder.told(one))])


def _lines(one: "Endpoint", settings: "RegistrySettings") -> "list[tuple[str, str]]":
    """What differs from one host to the next; what is not set has no line."""
    encrypted = one.origin.scheme == "https"
    checked = "certificate is not verified" if one.tls.skip_verify else ""
    lines = [
        ("  configured at", one.where),
        ("  asked to", ", ".join(sorted(one.capabilities))),
        ("  asked for", f"ns={one.namespace}" if one.namespace else ""),
        ("  TLS", checked if encrypted else "none: plain HTTP"),
        *(("  authority", path) for path in one.tls.ca_files if encrypted),
        *(
            ("  client certificate", " and ".join(filter(None, pair)))
            for pair in one.tls.client_certs
            if encrypted
        ),
        ("  connects within", f"{one.connect_timeout or settings.connect_timeout:g} s"),
        ("  headers", ", ".join(name for name, _ in one.headers)),
        ("  token services", ", ".join(one.realms)),
    ]
    return [(name, value) for name, value in lines if value]
