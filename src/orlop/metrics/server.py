"""Shows the metrics over HTTP, on the loopback interface only.

There is no authentication: whoever may open a socket on this machine may read
how many pulls there were, and nothing else.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from orlop.config.values import split_loopback
from orlop.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.metrics.observer import PrometheusObserver


@contextmanager
def serve(address: str, observer: PrometheusObserver) -> Iterator[str]:
    """Serve ``/metrics`` in a thread until the context is left.

    Args:
        address: loopback ``host:port``; port 0 lets the kernel choose.
        observer: whose metrics to show.

    Yields:
        The address that is served, with the port that was chosen.

    Raises:
        InvalidArgument: the address is malformed or not on the loopback interface.
        FailedPrecondition: it cannot be listened on.
    """
    host, port = split_loopback(address)
    try:
        server, thread = start_http_server(port, addr=host, registry=observer.registry)
    except OSError as error:
        raise FailedPrecondition(
            f"cannot serve metrics on {address}: {error.strerror}",
            hint="choose another port, or switch metrics off with an empty address",
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"{shown}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
