"""What strangers and broken machines may throw at the service: one row for each kind.

``ROWS`` says in one line what comes and in another what has to happen. A test that
shows it bears the marker ``row`` with the ids of its rows; docs/threats.md is made of
both (``python -m tests.hostile.page``), and a test refuses a row without a test.

Besides what a row says, whatever is refused leaves nothing behind: no file outside of
the tree is changed, no record, tree, blob, process or mount is left, and the next good
image is pulled as if nothing had been. Whatever is taken is taken inside of its tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from _pytest.mark.structures import MarkDecorator, ParameterSet


class Row(NamedTuple):
    """What comes, and what has to happen: the error by its name, or the effect."""

    comes: str
    answer: str


class Group(NamedTuple):
    """Rows that one kind of input has in common; their ids begin with one letter."""

    title: str
    rows: int


GROUPS: Final = {
    "Z": Group("Layers as compressed streams", 10),
    "T": Group("Layers as archives", 20),
    "X": Group("What archives ask for", 26),
    "M": Group("Manifests, indexes and configs", 22),
    "H": Group("Registries", 22),
    "K": Group("Credentials", 5),
    "L": Group("The machine", 16),
}

_STREAMS: Final = {
    "Z01": Row("A bomb: little data that becomes very much", "LimitExceeded"),
    "Z02": Row("A zstd frame that wants a huge window", "LimitExceeded before it is allocated"),
    "Z03": Row(
        "Zstd frames to skip, several frames, a frame with a dictionary",
        "honest ones are read, endless ones and dictionaries are ArchiveInvalid",
    ),
    "Z04": Row("Several gzip members in a row", "all are read"),
    "Z05": Row("Bytes behind the compressed stream", "NULs are padding, others ArchiveInvalid"),
    "Z06": Row(
        "A stream cut short, with a wrong checksum, or empty",
        "ArchiveInvalid; no bytes at all are an empty uncompressed layer",
    ),
    "Z07": Row("A media type that names another compression", "ManifestInvalid"),
    "Z08": Row("An answer with a Content-Encoding", "RegistryProtocol, nothing is decoded"),
    "Z09": Row("Programs in the layer, named as those that decompress", "never run"),
    "Z10": Row("Bytes behind the end of the archive", "hashed, counted and not read"),
}

_ARCHIVES: Final = {
    "T01": Row("A PAX size other than the header's", "the PAX size counts, for all readers alike"),
    "T02": Row("A PAX header for another extension header, or for nothing", "ArchiveInvalid"),
    "T03": Row("An old header and a long name with a slash at the end", "a file, as it says"),
    "T04": Row("An extension header of gigabytes", "LimitExceeded, before it is read"),
    "T05": Row("Malformed PAX records", "ArchiveInvalid, none is skipped"),
    "T06": Row("A global PAX header that changes all members", "ArchiveInvalid but for comments"),
    "T07": Row("Numbers that are none, negative, or out of range", "ArchiveInvalid; times clamped"),
    "T08": Row("Bytes that are no archive", "ArchiveInvalid, at once"),
    "T09": Row("An archive cut short", "ArchiveInvalid; only the end mark may be missing"),
    "T10": Row("Members behind a single zero block", "ArchiveInvalid"),
    "T11": Row(
        "Sparse maps that are too long, overlap, or descend", "LimitExceeded or ArchiveInvalid"
    ),
    "T12": Row("Members of unknown types", "ArchiveInvalid; type 7 is a file"),
    "T13": Row("Data of members that have none", "ArchiveInvalid"),
    "T14": Row("Too many members, too deep a path, too many hard links", "LimitExceeded"),
    "T15": Row("Names that are no text", "kept byte for byte"),
    "T16": Row("Names, paths and targets beyond the kernel's limits", "ArchiveInvalid"),
    "T17": Row("NULs in names", "the end in short names, ArchiveInvalid in long ones"),
    "T18": Row("The same path twice", "the last one counts; nothing is written through"),
    "T19": Row("Names that differ in case or composition only", "different files"),
    "T20": Row("A stream that stops or never ends", "Stalled or SizeMismatch"),
}

_TREES: Final = {
    "X01": Row("Paths above the root, absolute paths", "ArchiveEscape; absolute ones are inside"),
    "X02": Row("A link, then something through it", "ends inside of the tree"),
    "X03": Row("Chains of links that are too long", "ArchiveInvalid"),
    "X04": Row("Something else in place of the root", "ArchiveEscape"),
    "X05": Row("Directories that become links while they are used", "never left"),
    "X06": Row("Hard links to what is outside", "inside, or ArchiveInvalid"),
    "X07": Row("Attributes through a hard link to a symbolic link", "the link's own only"),
    "X08": Row(
        "Hard links to directories, to themselves, to nothing", "ArchiveInvalid; lower files work"
    ),
    "X09": Row("A path that changes its kind", "what was there is removed, links not followed"),
    "X10": Row("Opaque marks at any place and any number", "lower layers hidden, own files stay"),
    "X11": Row("Whiteouts without a name", "ArchiveInvalid"),
    "X12": Row("A whiteout and a file of the same name", "the file stays, in either order"),
    "X13": Row("A whiteout in an opaque directory", "no device is left to be seen"),
    "X14": Row("A whiteout below a link", "deletes inside only"),
    "X15": Row("Whiteouts with data, of other kinds, and of AUFS", "go by their names"),
    "X16": Row("A device 0:0, which is overlayfs's whiteout", "taken for a whiteout"),
    "X17": Row("Devices and pipes; numbers out of range", "made, not opened; ArchiveInvalid"),
    "X18": Row("Files that are set-user-id", "kept, and out of reach for other users"),
    "X19": Row("Malformed capabilities, or of no file", "ArchiveInvalid"),
    "X20": Row("Attributes that overlayfs obeys", "dropped and counted"),
    "X21": Row("Attributes of security modules", "dropped and counted"),
    "X22": Row("Attributes that are too long or too many", "LimitExceeded, never a full disk"),
    "X23": Row("The owner -1", "ArchiveInvalid"),
    "X24": Row("Times before and beyond what file systems hold", "clamped"),
    "X25": Row("Parents that are never named", "those of the lower layer, or plain ones"),
    "X26": Row("Links where programs expect system files", "nobody opens them"),
}

_DOCUMENTS: Final = {
    "M01": Row("A document that is not what was asked for", "DigestMismatch before it is parsed"),
    "M02": Row("Sizes that are wrong, negative, or missing", "SizeMismatch or ManifestInvalid"),
    "M03": Row(
        "Digests that are paths, or malformed", "ManifestInvalid; others UnsupportedMediaType"
    ),
    "M04": Row("A document of two kinds, or called another kind", "ManifestAmbiguous"),
    "M05": Row("JSON that readers understand differently", "ManifestInvalid"),
    "M06": Row("Documents of megabytes and more", "LimitExceeded, before they are fetched"),
    "M07": Row("Documents that are deep, long or full of numbers", "ManifestInvalid/LimitExceeded"),
    "M08": Row("Indexes in indexes", "LimitExceeded"),
    "M09": Row("An index without the platform, with attestations", "the first match, or none"),
    "M10": Row("A config that is none, or of another platform", "ManifestInvalid"),
    "M11": Row("Layers and diffIDs that do not agree", "ManifestInvalid or DigestMismatch"),
    "M12": Row("A root file system that is not made of layers", "ManifestInvalid"),
    "M13": Row("Old manifests, artifacts, encrypted layers", "UnsupportedMediaType"),
    "M14": Row("Layers that are file systems", "UnsupportedMediaType, the kernel never sees them"),
    "M15": Row("Layers with addresses of their own", "the addresses are never asked"),
    "M16": Row("Embedded data that is wrong or long", "ignored and fetched"),
    "M17": Row("One blob as two things", "ManifestInvalid"),
    "M18": Row("Labels that look like the store's own", "kept apart from them"),
    "M19": Row("Users that are no numbers of users", "ManifestInvalid or LimitExceeded"),
    "M20": Row("Volumes and directories that lead elsewhere", "told and never used"),
    "M21": Row("Documents that name other images", "only what was asked for gets a name"),
    "M22": Row("A tag that moves during a pull", "the image that was resolved, whole"),
}

_REGISTRIES: Final = {
    "H01": Row("A redirect to another origin", "it gets nothing that is secret or ours"),
    "H02": Row("A redirect from https to http", "refused"),
    "H03": Row("Redirects in circles, out of HTTP, inside, with a user name", "refused"),
    "H10": Row("A token service without TLS, by address, inside, elsewhere", "not asked"),
    "H11": Row("Token answers that are too long, no document or no token", "refused"),
    "H12": Row("Challenges that are too long, too many or malformed", "refused in linear time"),
    "H13": Row("Challenges without end", "answered twice; tokens serve one repository only"),
    "H20": Row("Lengths that lie", "found out before the body; nothing is allocated by them"),
    "H21": Row("A body longer than its descriptor", "cut off at once"),
    "H22": Row("A connection that breaks at any byte", "the download goes on where it stopped"),
    "H23": Row("Answers to other ranges than asked for", "refused, or fetched from the start"),
    "H24": Row("A blob that changes between two connections", "fetched afresh, once"),
    "H25": Row("A registry that fails", "asked again, as patiently as it wants, up to a bound"),
    "H26": Row("Silence and slowness in any phase", "the pull ends in bounded time"),
    "H27": Row("Interim answers, fields, trailers without end", "refused in bounded memory"),
    "H28": Row("Digests and entity tags of an answer", "compared at most, never believed"),
    "H29": Row("A server that cannot prove who it is", "gets no request"),
    "H30": Row("User names in URLs, proxies and passwords around", "not used"),
    "H31": Row("Warnings and error texts", "shortened and escaped, never acted upon"),
    "H32": Row("Login pages", "neither manifests nor blobs"),
    "H33": Row("Names with several addresses", "only those that may be reached are connected to"),
    "H34": Row("A mirror that fails or lies", "passed over, and sees no credentials"),
}

_CREDENTIALS: Final = {
    "K01": Row("Somebody reads logs, errors, tracebacks, files", "no credentials are in them"),
    "K02": Row("Somebody looks at processes", "no credentials in arguments and environments"),
    "K03": Row("Somebody wants the memory", "no core is dumped, nobody may trace"),
    "K04": Row("Another host, port, sub-domain or scheme", "never offered the credentials"),
    "K05": Row("An image that is here", "given only to those whom the registry gives it"),
}

_MACHINE: Final = {
    "L01": Row("A root that others can change", "StoreCorrupt, nothing is opened"),
    "L02": Row("Something in place of the socket; other users", "refused; 0600, ours is replaced"),
    "L03": Row("No space, no inodes, no quota", "StoreFull; removing still works"),
    "L04": Row("No descriptors, no memory, no processes", "an error, and no descriptor is lost"),
    "L05": Row("A disk that fails", "StoreIO, nothing is tried again"),
    "L06": Row("Processes that are killed", "a store that opens and is whole"),
    "L07": Row("No power at any moment", "what was acknowledged is there"),
    "L08": Row(
        "A database that is damaged or from another time", "StoreCorrupt; an old log is read"
    ),
    "L09": Row("Blobs that are damaged, short, or gone", "found on reading, fetched again"),
    "L10": Row("Trees that are gone", "found, and made again"),
    "L11": Row("Remains of another life", "tidied at the start"),
    "L12": Row("Two processes on one root", "StoreLocked"),
    "L13": Row("A clock that jumps", "only what is shown changes"),
    "L14": Row("A file system that becomes read-only", "reading goes on, writing is StoreIO"),
    "L15": Row("Signals and cancellations at any moment", "nothing is left behind"),
    "L16": Row("A root on a file system that cannot do it", "refused, or all of it works"),
}

ROWS: Final = {
    **_STREAMS,
    **_ARCHIVES,
    **_TREES,
    **_DOCUMENTS,
    **_REGISTRIES,
    **_CREDENTIALS,
    **_MACHINE,
}
"""Every row, by its id."""


def row(*names: str) -> MarkDecorator:
    """Marks a test for its rows."""
    assert ROWS.keys() >= set(names)
    return pytest.mark.row(*names)


def case(name: str, what: str, *values: object) -> ParameterSet:
    """One set of parameters for ``pytest.mark.parametrize``, which shows one row."""
    return pytest.param(*values, id=f"{name}-{what}", marks=row(name))
