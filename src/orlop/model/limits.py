"""How much of anything the outside world may ask for, and why that much.

Registries, images and clients choose sizes and counts; these numbers bound what
they can cost. Going beyond one raises ``LimitExceeded`` with the field's name,
except for the form of JSON documents, which is then ``ManifestInvalid``.
Configuration may replace single fields; nothing here enforces them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_TIB: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Limits:
    """All caps; every field is inclusive and says why it is as it is."""

    # Documents of an image.

    manifest_bytes: int = 4 * _MIB
    """A manifest or index. The distribution specification (Pushing Manifests) asks
    registries to take 4 MiB at least, and clients rely on no more."""

    config_bytes: int = 8 * _MIB
    """An image config. Its history grows with every build step, so it gets more room
    than a manifest; the whole document is held in memory."""

    json_depth: int = 64
    """Nesting of a document. The specifications need 6 levels; parsers recurse once a level."""

    json_containers: int = 100_000
    """Objects and lists in a document. An index that uses every limit has some 10,000;
    each takes far more memory than the two bytes that ask for it."""

    json_digits: int = 19
    """Digits of an integer. 19 hold every signed 64-bit one; turning text into an
    integer costs the square of its length."""

    layers: int = 500
    """Layers of an image: overlayfs stacks at most 500 (OVL_MAX_STACK in the kernel)."""

    descriptors: int = 2048
    """Descriptors of an index. A platform takes one or two (an attestation), and each can
    cost a request."""

    index_depth: int = 3
    """Indexes on the way to a manifest. One is usual, two occur; deeper only serves to
    keep a client busy."""

    data_bytes: int = 64 * _KIB
    """Decoded ``data`` of a descriptor. It is meant for small documents; anything
    longer is fetched as usual."""

    user_bytes: int = 512
    """``config.User`` as UTF-8: Linux has login names up to 256 bytes
    (LOGIN_NAME_MAX), and a group may follow."""

    # Registries.

    token_bytes: int = 64 * _KIB
    """Body of a token response. Tokens travel in one header field, so longer ones
    could not be sent."""

    error_bytes: int = 64 * _KIB
    """Body of an error response; only its first messages are shown."""

    header_bytes: int = 64 * _KIB
    """Header block of a response. Tokens and redirects are the longest fields, at most
    some KiB each."""

    header_fields: int = 100
    """Fields in a response's header; registries behind several proxies send some dozens."""

    parts_bytes: int = 64 * _MIB
    """Parts of one layer that are fetched side by side: those that are ahead of the disk
    are in memory. The configuration may ask for smaller parts."""

    redirects: int = 5
    """Redirects of one request. Registries redirect once, to their storage; a mirror
    in front adds one or two."""

    # Layers as streams.

    layer_bytes: int = _TIB
    """Uncompressed length of a layer. No image is near it: it ends a stream that never
    does, on a disk whose free space would not. Free space is the tighter cap."""

    layer_ratio: int = 200
    """Uncompressed to compressed length. Only long runs of equal bytes go beyond it; gzip
    can make 1000 of 1, zstd much more."""

    layer_ratio_floor: int = _GIB
    """Uncompressed bytes below which ``layer_ratio`` is not looked at: small layers of
    zeros are honest and cheap."""

    zstd_window_bytes: int = 128 * _MIB
    """Window of a zstd frame, allocated at once: 128 MiB is what ``zstd --ultra -22``
    makes and what the reference decoder accepts by default (RFC 8878, 3.1.1.1.2)."""

    # Layers as archives.

    layer_entries: int = 2_000_000
    """Entries of a layer. Large images have some hundred thousand files; each entry can
    cost an inode, and deleting it costs as long as making it."""

    path_bytes: int = 4096
    """A path (PATH_MAX, limits.h)."""

    component_bytes: int = 255
    """One name in a path (NAME_MAX, limits.h)."""

    link_bytes: int = 4095
    """Target of a symbolic link: PATH_MAX less the final NUL, see symlink(2)."""

    path_depth: int = 255
    """Components of a path. Each costs a lookup, and trees are removed level by level."""

    tar_extension_bytes: int = _MIB
    """One extension header (PAX records, GNU long names). It is held in memory; the
    longest honest ones carry extended attributes."""

    sparse_regions: int = 10_000
    """Data regions of one sparse file. The list is held in memory, and every region
    costs a system call."""

    xattr_name_bytes: int = 255
    """Name of an extended attribute (XATTR_NAME_MAX, xattr(7))."""

    xattr_value_bytes: int = 64 * _KIB
    """Value of an extended attribute (XATTR_SIZE_MAX, xattr(7))."""

    xattrs_per_inode: int = 1000
    """Extended attributes of one inode. listxattr(2) returns 64 KiB of names at most;
    ext4 holds far fewer."""

    worker_memory_bytes: int = _GIB
    """Data of a worker's process (RLIMIT_DATA). A layer of 100,000 files needs some 60 MB;
    one with as many directories as it may have, each to be remembered, most of this."""

    # Partial downloads.

    ingest_seconds: int = 24 * 3600
    """Time that a partial download waits for somebody to continue it. A pull that fails at
    night is tried again in the morning; what nobody wants by then is in the way."""

    # Images as archives.

    archive_members: int = 65_536
    """Members of an archive of images: dozens of images with dozens of layers each, as
    old tools write them with three members a layer. The list is held in memory."""

    archive_images: int = 2048
    """Images of an archive, as many as an index may list."""

    # Bundles.

    accounts_bytes: int = 4 * _MIB
    """An image's passwd or group file. Distributions have some KiB; each is read as a whole."""

    # Our own doors.

    label_bytes: int = 4096
    """Key and value of a label together; containerd's rule, kept so that records can
    be exchanged."""

    grpc_message_bytes: int = 16 * _MIB
    """A gRPC message, in and out: kubelet's limit, so that a list of all images fits."""


DEFAULTS: Final = Limits()
"""What holds when nobody configured anything else."""
