"""The images that the measurements pull: built once, then taken from a cache.

Those of ``RECIPES`` are real installations (debootstrap, then apt in one overlay a
layer) of about a gigabyte (``java``) to nearly three (``large``); ``tiny`` is made of
files of this machine's Python and is ready in a second. The cache holds blobs by
digest and one JSON document an image. Nothing here starts a registry or pulls.

    python -m bench.image debian|java|toolchains|large|tiny
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.layer import LAYER_TYPES, Blob, Layer, add_blob, pack, translate_whiteouts

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
"""Where images and the registry's storage are kept; git ignores it."""

SUITE = "bookworm"

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, slots=True)
class Step:
    """One layer on top of the base: packages to install, then commands to run.

    Attributes:
        packages: Names of Debian packages.
        commands: Shell commands, run in the new root after the installation.
    """

    packages: tuple[str, ...]
    commands: str = ":"


# The commands remove what lower layers brought, as authors of images do to make them
# small: they give the image whiteouts and opaque directories.
_DEBIAN = (
    Step(("python3", "python3-dev", "g++", "make", "git", "curl", "ca-certificates", "vim")),
    Step(("openjdk-17-jdk-headless",), "rm -rf /usr/share/doc/*"),
    Step(("golang-go",), "rm -rf /usr/share/man && mkdir /usr/share/man"),
)

RECIPES: dict[str, tuple[Step, ...]] = {
    "debian": _DEBIAN,
    "java": _DEBIAN[:2],
    "toolchains": (*_DEBIAN, Step(("llvm-14-dev",))),
    "large": (
        Step(
            (
                "clang-14",
                "golang-go",
                "libboost-all-dev",
                "llvm-14-dev",
                "openjdk-17-jdk-headless",
                "python3-scipy",
                "qemu-system-x86",
                "rustc",
            )
        ),
        Step(("git", "vim")),
    ),
}
"""The layers above Debian's minimal system, by name of the image."""

TINY_SOURCES = (("asyncio", "json", "email"), ("logging", "unittest"), ("importlib",))
"""Directories of Python's library, a tuple a layer of the tiny image."""


@dataclass(frozen=True, slots=True)
class Image:
    """A built image, in one tag a compression.

    Attributes:
        name: Key of ``RECIPES``, or ``tiny``.
        layers: The layers, the lowest first.
        config: The image configuration; every tag shares it.
        manifests: The manifest's blob by tag.
        indexes: The index's blob by tag.
        created: When it was built, RFC 3339.
    """

    name: str
    layers: tuple[Layer, ...]
    config: Blob
    manifests: dict[str, Blob]
    indexes: dict[str, Blob]
    created: str

    def blobs(self, tag: str) -> list[Blob]:
        """Returns the configuration and the layers that a tag refers to."""
        return [self.config, *(layer.blobs[tag] for layer in self.layers)]

    @property
    def entries(self) -> int:
        """Number of members in all layers."""
        return sum(layer.entries for layer in self.layers)

    @property
    def size(self) -> int:
        """Length of all uncompressed archives in bytes."""
        return sum(layer.size for layer in self.layers)


def obtain(name: str, *, cache: Path = CACHE) -> Image:
    """Returns an image from the cache, after building it when it is not there.

    Building one of ``RECIPES`` needs root, debootstrap and the Debian
    mirror that this machine's apt is configured with.
    """
    document = cache / "images" / f"{name}.json"
    if document.exists():
        return _load(document)
    for directory in (document.parent, blob_directory(cache)):
        directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as work:
        uppers = _tiny_uppers(Path(work)) if name == "tiny" else _debian_uppers(name, Path(work))
        layers = tuple(_finish(upper, Path(work), blob_directory(cache)) for upper in uppers)
        image = _describe(name, layers, _BlobWriter(Path(work), blob_directory(cache)).write)
    partial = document.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(image), indent=1))
    partial.replace(document)
    return image


def blob_directory(cache: Path = CACHE) -> Path:
    """Returns the directory in which each blob is named by its digest's hex part."""
    return cache / "blobs" / "sha256"


def blob_path(blob: Blob, *, cache: Path = CACHE) -> Path:
    """Returns the file of a blob in the cache."""
    return blob_directory(cache) / blob.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class _BlobWriter:
    work: Path
    blobs: Path

    def write(self, document: object) -> Blob:
        path = self.work / "document.json"
        path.write_text(json.dumps(document, separators=(",", ":")))
        return add_blob(path, self.blobs)


def _load(document: Path) -> Image:
    fields = json.loads(document.read_text())
    layers = tuple(
        Layer(**{**layer, "blobs": {tag: Blob(**blob) for tag, blob in layer["blobs"].items()}})
        for layer in fields["layers"]
    )
    return Image(
        name=fields["name"],
        layers=layers,
        config=Blob(**fields["config"]),
        manifests={tag: Blob(**blob) for tag, blob in fields["manifests"].items()},
        indexes={tag: Blob(**blob) for tag, blob in fields["indexes"].items()},
        created=fields["created"],
    )


def _finish(upper: Path, work: Path, blobs: Path) -> Layer:
    marks = translate_whiteouts(upper)
    layer = pack(upper, work, blobs)
    print(
        f"{upper.name}: {layer.size / 1e6:.0f} MB, {layer.entries} entries, {marks} whiteouts, "
        + ", ".join(f"{tag} {blob.size / 1e6:.0f} MB" for tag, blob in layer.blobs.items()),
        file=sys.stderr,
        flush=True,
    )
    return layer


def _describe(name: str, layers: tuple[Layer, ...], write: Callable[[object], Blob]) -> Image:
    """Writes the documents of an image: configuration, and by tag manifest and index."""
    created = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    platform = {"os": "linux", "architecture": _architecture()}
    config = write(
        {
            **platform,
            "created": created,
            "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    )
    manifests = {}
    indexes = {}
    for tag, layer_type in LAYER_TYPES.items():
        manifests[tag] = write(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _descriptor(CONFIG_TYPE, config),
                "layers": [_descriptor(layer_type, layer.blobs[tag]) for layer in layers],
            }
        )
        manifest = {**_descriptor(MANIFEST_TYPE, manifests[tag]), "platform": platform}
        indexes[tag] = write({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [manifest]})
    return Image(
        name=name,
        layers=layers,
        config=config,
        manifests=manifests,
        indexes=indexes,
        created=created,
    )


def _descriptor(media_type: str, blob: Blob) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def _architecture() -> str:
    """Returns this machine's architecture; Debian and Go agree on amd64, arm64, riscv64."""
    return subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()


def _tiny_uppers(work: Path) -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    uppers = []
    for number, packages in enumerate(TINY_SOURCES):
        upper = work / f"layer-{number}"
        for package in packages:
            shutil.copytree(
                library / package,
                upper / "opt" / package,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        uppers.append(upper)
    (uppers[1] / "opt" / ".wh.json").touch()
    (uppers[2] / "opt" / "again.py").hardlink_to(uppers[2] / "opt" / "importlib" / "abc.py")
    (uppers[2] / "opt" / "latest").symlink_to("again.py")
    return uppers


def _debian_uppers(name: str, work: Path) -> list[Path]:
    """Installs the base and every step; returns the directories, the lowest first."""
    base = work / "layer-0"
    subprocess.run(
        ["debootstrap", "--variant=minbase", SUITE, str(base), _mirror()],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(base / leftover)
        (base / leftover / "partial").mkdir(parents=True)
    for copied in ("etc/hostname", "etc/resolv.conf"):  # debootstrap takes them from this machine
        (base / copied).write_text("")
    uppers = [base]
    for number, step in enumerate(RECIPES[name], start=1):
        upper = work / f"layer-{number}"
        _run_step(step, lower=uppers, upper=upper, work=work)
        uppers.append(upper)
    return uppers


def _mirror() -> str:
    """Returns the address of the Debian mirror in this machine's apt configuration."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in targets.splitlines():
        release, _, address = line.partition(" ")
        if release == SUITE:
            return address
    message = f"apt has no source for {SUITE}: add one to /etc/apt/sources.list"
    raise SystemExit(message)


_IN_OVERLAY = """
mount -t overlay -o "lowerdir=$1,upperdir=$2,workdir=$3,redirect_dir=off,metacopy=off,index=off" \
    overlay "$4"
mount -t proc proc "$4/proc"
mount --bind /etc/resolv.conf "$4/etc/resolv.conf"
exec chroot "$4" /bin/sh -ec "$5"
"""

_INSTALL = """
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get -qq update
apt-get -qq install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io {packages}
apt-get clean
rm -rf /var/lib/apt/lists/*
{commands}
"""


def _run_step(step: Step, *, lower: list[Path], upper: Path, work: Path) -> None:
    """Runs a step in an overlay, in mount and process namespaces that end with it."""
    workdir, merged = work / "overlay-work", work / "merged"
    for directory in (upper, workdir, merged):
        directory.mkdir()
    lowerdir = ":".join(str(directory) for directory in reversed(lower))
    script = _INSTALL.format(packages=" ".join(step.packages), commands=step.commands)
    arguments = [lowerdir, str(upper), str(workdir), str(merged), script]
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    try:
        subprocess.run(
            [*namespaces, "sh", "-ec", _IN_OVERLAY, "sh", *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    finally:
        shutil.rmtree(workdir)
        merged.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.image", description="Build a test image.")
    parser.add_argument("name", choices=[*RECIPES, "tiny"])
    image = obtain(parser.parse_args().name)
    print(json.dumps(asdict(image), indent=1))


if __name__ == "__main__":
    main()
