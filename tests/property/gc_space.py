"""Some images, and a model of what a namespace must keep of them.

``Space`` knows what was pulled, named, leased, labelled and mounted, and says what has to
be there and what a collection leaves. It knows nothing of labels and records: what refers
to what follows from the images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from orlop.model.digest import Digest
from orlop.testing.images import BuiltIndex, build_image, build_index, build_layer
from orlop.testing.layers import file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.testing.images import BuiltImage


def make_images() -> list[BuiltImage]:
    """Images of one to four layers out of six; some share a start, some a layer alone."""
    pool = [build_layer([file(f"f{at}", bytes([at]) * 50 * at)]) for at in range(6)]
    stacks = [(0,), (0, 1), (0, 1, 2), (0, 3), (4,), (4, 1, 5, 2), (5, 0), ()]
    images = [build_image([pool[at] for at in stack]) for stack in stacks]
    return [*images, build_image([pool[0], pool[3]], platform="linux/arm64")]


IMAGES: Final = make_images()
INDEXES: Final = (
    build_index([IMAGES[2], IMAGES[-1]]),
    build_index([build_index([IMAGES[2]]), IMAGES[-1]]),
)
BY_MANIFEST: Final = {image.digest: image for image in IMAGES}
Thing = tuple[str, str]
"""A kind and an id: ("blob", digest), ("snapshot", key) or ("image", id)."""


@dataclass
class Space:
    """What the model knows of one namespace."""

    here: set[Thing] = field(default_factory=set)
    names: dict[str, tuple[Digest, set[Digest]]] = field(default_factory=dict)
    expires: dict[str, int] = field(default_factory=dict)
    roots: set[Thing] = field(default_factory=set)
    children: dict[Thing, set[Thing]] = field(default_factory=dict)
    leases: dict[str, tuple[int, bool, list[Thing]]] = field(default_factory=dict)
    mounts: dict[str, Thing] = field(default_factory=dict)

    def pulled(self, name: str, target: BuiltImage | BuiltIndex, image: BuiltImage) -> None:
        """An image has come."""
        repository = name.rpartition(":")[0]
        for one in (name, f"{repository}@{target.digest}", str(image.id)):
            self.named(one, target.digest, image.id)
        manifest, config = ("blob", str(image.digest)), ("blob", str(image.id))
        layers = [("blob", str(layer.digest)) for layer in image.layers]
        chain = [("snapshot", str(key)) for key in image.chain]
        record = ("image", str(image.id))
        self.refer(record, [manifest, config, *chain[-1:]])
        self.refer(manifest, [config, *layers])
        self.refer(config, chain[-1:])
        for below, above in pairwise(chain):
            self.refer(above, [below])
        self.here |= {record, manifest, config, *layers, *chain}
        path = _path(target, image)
        for index, child in pairwise(path):
            self.refer(("blob", str(index)), [("blob", str(child))])
            self.here.add(("blob", str(index)))

    def named(self, name: str, target: Digest, id_: Digest) -> None:
        """A name means an image, too, or from now on."""
        old, ids = self.names.get(name, (target, set()))
        self.names[name] = (target, ids | {id_} if old == target else {id_})
        self.expires.pop(name, None)

    def refer(self, thing: Thing, others: Iterable[Thing]) -> None:
        """One thing refers to others."""
        self.children.setdefault(thing, set()).update(others)

    def forget_nameless(self, ids: Iterable[Digest]) -> None:
        """Images go with their last names."""
        for id_ in ids:
            if not any(id_ in others for _, others in self.names.values()):
                self.forget(id_)

    def forget(self, id_: Digest) -> None:
        """An image goes with all its names, and the indexes forget it."""
        for name, (target, ids) in list(self.names.items()):
            self.names[name] = (target, ids - {id_})
            if not ids - {id_}:
                del self.names[name]
                self.expires.pop(name, None)
        record = ("image", str(id_))
        if record in self.here:
            self.here.discard(record)
            image = next(image for image in IMAGES if image.id == id_)
            self._unlink(("blob", str(image.digest)))

    def _unlink(self, manifest: Thing) -> None:
        for index in INDEXES_AND_BELOW:
            children = self.children.get(index, set())
            if manifest in children:
                children.discard(manifest)
                if not children & MANIFESTS:
                    self._unlink(index)

    def needed(self, now: int) -> set[Thing]:
        """What must be here."""
        starts: list[Thing] = [*self.roots, *self.mounts.values()]
        for name, (target, ids) in self.names.items():
            if not 0 < self.expires.get(name, 0) <= now:
                starts.append(("blob", str(target)))
                starts += [("image", str(id_)) for id_ in ids]
        flat: set[Thing] = set()
        for expires_at, is_flat, things in self.leases.values():
            if not 0 < expires_at <= now:
                (flat.update if is_flat else starts.extend)(things)
        found: set[Thing] = set()
        while starts:
            thing = starts.pop()
            if thing in self.here and thing not in found:
                found.add(thing)
                starts += self.children.get(thing, ())
        stack = list(flat & self.here)
        found.update(stack)
        while stack:
            thing = stack.pop()
            if thing[0] == "snapshot":
                found.update(self.children.get(thing, ()))
                stack += self.children.get(thing, ())
        return found

    def collected(self, now: int) -> None:
        """A collection has been."""
        while True:
            gone = [name for name, at in self.expires.items() if at <= now]
            ids = {id_ for name in gone for id_ in self.names.pop(name)[1]}
            for name in gone:
                del self.expires[name]
            self.forget_nameless(ids)
            left = self.needed(now)
            lost = self.here - left
            for kind, id_ in lost:
                if kind == "image":
                    self.forget(Digest.parse(id_))
            self.here = left
            for thing in lost:
                self.children.pop(thing, None)
            if not gone and not any(kind == "image" for kind, _ in lost):
                break
        self.leases = {id_: one for id_, one in self.leases.items() if not 0 < one[0] <= now}


def _path(target: BuiltImage | BuiltIndex, image: BuiltImage) -> list[Digest]:
    """Digests from the target to the image's manifest."""
    if target.digest == INDEXES[1].digest and image is IMAGES[2]:
        return [target.digest, build_index([IMAGES[2]]).digest, image.digest]
    return [target.digest, image.digest] if isinstance(target, BuiltIndex) else [target.digest]


LAYERS: Final = {("blob", str(layer.digest)) for image in IMAGES for layer in image.layers}
INDEXES_AND_BELOW: Final = [
    ("blob", str(digest))
    for digest in (*(index.digest for index in INDEXES), build_index([IMAGES[2]]).digest)
]
MANIFESTS: Final = {*INDEXES_AND_BELOW, *(("blob", str(image.digest)) for image in IMAGES)}


def _everything() -> set[Thing]:
    found: set[Thing] = set(INDEXES_AND_BELOW)
    for image in IMAGES:
        found |= {("blob", str(image.digest)), ("image", str(image.id))}
        found |= {("blob", str(digest)) for digest in image.blobs}
        found |= {("snapshot", str(key)) for key in image.chain}
    return found


EVERYTHING: Final = _everything()
