"""The few calls of the CRI that a measurement makes; the same for every service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from orlop._proto import runtime_v1_pb2

if TYPE_CHECKING:
    from pathlib import Path

_SERVICE = "/runtime.v1.ImageService"
_PULL_SECONDS = 600.0
_READY_SECONDS = 1.0


def serves(socket: Path) -> bool:
    """Tells whether an image service answers on a socket."""
    if not socket.exists():
        return False
    try:
        with grpc.insecure_channel(f"unix://{socket}") as channel:
            list_images = channel.unary_unary(
                f"{_SERVICE}/ListImages",
                request_serializer=runtime_v1_pb2.ListImagesRequest.SerializeToString,
                response_deserializer=runtime_v1_pb2.ListImagesResponse.FromString,
            )
            list_images(runtime_v1_pb2.ListImagesRequest(), timeout=_READY_SECONDS)
    except grpc.RpcError:
        return False
    return True


def pull_image(socket: Path, reference: str) -> str:
    """Pulls an image and returns the id under which the service knows it.

    Raises:
        RuntimeError: The service refused; its words are in the message.
    """
    request = runtime_v1_pb2.PullImageRequest(image=runtime_v1_pb2.ImageSpec(image=reference))
    try:
        with grpc.insecure_channel(f"unix://{socket}") as channel:
            pull = channel.unary_unary(
                f"{_SERVICE}/PullImage",
                request_serializer=runtime_v1_pb2.PullImageRequest.SerializeToString,
                response_deserializer=runtime_v1_pb2.PullImageResponse.FromString,
            )
            return str(pull(request, timeout=_PULL_SECONDS).image_ref)
    except grpc.RpcError as error:
        message = f"{reference} was not pulled: {error}"
        raise RuntimeError(message) from error
