"""``python -m demo [REF]``: the steps of the demonstration, in order."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from demo import image as demo_image
from demo.client import CriClient
from demo.story import Story, megabytes
from demo.surroundings import Daemon, directory, registry
from orlop.control.client import ControlClient
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from pathlib import Path

    from demo.image import DemoImage


@dataclass
class Demo:
    """One run: the story, the directory, and the two clients of the daemon."""

    story: Story
    home: Path
    daemon: Daemon
    cri: CriClient
    control: ControlClient

    async def pull(self, reference: str) -> str:
        """Over the CRI, while a second client watches."""
        with self.story.step(f"Pull {reference} over the CRI, as kubelet does"):
            begun = time.monotonic()
            pulling = asyncio.create_task(self.cri.pull(reference))
            try:
                while not pulling.done():
                    for picture in await self.control.running():
                        self.story.progress(picture)
                    await asyncio.wait({pulling}, timeout=0.1)
            finally:
                pulling.cancel()
                await asyncio.wait({pulling})
            image_id = pulling.result()
            seconds = time.monotonic() - begun
            (found,) = await self.cri.images()
            self.story.say(f"{image_id}")
            self.story.say(
                f"complete and safe on disk after {seconds:.2f} s: {megabytes(found.size)}"
            )
        return image_id

    async def look(self, reference: str) -> None:
        """What the CRI says about the image and the disk."""
        with self.story.step("List the images, ask for one, ask for the disk"):
            for found in await self.cri.images():
                self.story.say(f"ListImages: {', '.join(found.repo_tags)} {megabytes(found.size)}")
            status = await self.cri.status(reference)
            spec = json.loads(status.info["info"])["imageSpec"]
            self.story.say(
                f"ImageStatus: {spec['os']}/{spec['architecture']},"
                f" {len(spec['rootfs']['diff_ids'])} layers, command {spec['config'].get('Cmd')}"
            )
            await self._disk()

    async def mount(self, reference: str, expected: DemoImage | None) -> None:
        """Mount the image, look into it, unmount it."""
        target = self.home / "mnt"
        target.mkdir()
        with self.story.step("Mount it"):
            await self.control.mount(reference, str(target))
        try:
            with self.story.step("Look into it"):
                await asyncio.to_thread(self._show, target, expected)
        finally:
            await self.control.unmount(str(target))
        self.story.say("unmounted")

    async def remove(self, reference: str) -> None:
        """Remove it over the CRI; nothing of it stays on the disk."""
        with self.story.step("Remove it over the CRI"):
            await self.cri.remove(reference)
            left = await self.cri.images()
            self.story.say(f"ListImages: {len(left)} images")
            used = await self._disk()
            blobs = list(self.daemon.root.glob("*/blobs/sha256/*"))
            trees = list(self.daemon.root.glob("*/snapshots/*"))
            self.story.say(f"on disk: {len(blobs)} blobs, {len(trees)} snapshots")
            if left or used or blobs or trees:
                raise RuntimeError("something of the image is still there")

    async def _disk(self) -> int:
        usages = await self.cri.filesystems()
        for usage in usages:
            self.story.say(
                f"ImageFsInfo: {megabytes(usage.used_bytes.value)},"
                f" {usage.inodes_used.value} inodes at {usage.fs_id.mountpoint}"
            )
        return sum(usage.used_bytes.value for usage in usages)

    def _show(self, target: Path, expected: DemoImage | None) -> None:
        self.story.say("/: " + " ".join(sorted(os.listdir(target))))
        files = [name for _, _, names in os.walk(target) for name in names]
        self.story.say(f"{len(files)} files")
        if expected is None:
            return
        self.story.say(f"/greeting: {(target / 'srv/demo/greeting').read_text().strip()}")
        path, digest = expected.same
        if hashlib.sha256((target / path).read_bytes()).hexdigest() != digest:
            raise RuntimeError(f"/{path} differs from the file that it was made from")
        self.story.say(f"/{path}: the same bytes as on this machine")
        for gone in (expected.deleted, expected.hidden):
            if os.path.lexists(target / gone):
                raise RuntimeError(f"/{gone} is there, although the top layer removes it")
            self.story.say(f"/{gone}: removed by the top layer")


async def run(reference: str) -> None:
    """The whole story."""
    story = Story()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(directory())
        expected = None
        if not reference:
            expected, reference = _offer(story, stack, home)
        with story.step("Start the daemon"):
            daemon = stack.enter_context(Daemon(home))
            story.say(f"it serves the CRI on {daemon.address}")
        cri = await stack.enter_async_context(CriClient(daemon.address))
        control = await stack.enter_async_context(ControlClient(daemon.address))
        demo = Demo(story, home, daemon, cri, control)
        await demo.pull(reference)
        await demo.look(reference)
        await demo.mount(reference, expected)
        await demo.remove(reference)
        with story.step("Stop the daemon"):
            story.say(f"it ended with code {daemon.stop()}")
    story.end()


def _offer(story: Story, stack: AsyncExitStack, home: Path) -> tuple[DemoImage, str]:
    """Make the image and serve it; returns it and its reference."""
    with story.step("Make an image from files of this machine"):
        made = demo_image.make()
        story.say(
            f"{len(made.built.layers)} layers, {megabytes(made.unpacked_bytes)},"
            f" {megabytes(made.compressed_bytes)} compressed with gzip and zstd"
        )
    with story.step("Serve it from a registry on the loopback interface"):
        kind, reference = stack.enter_context(registry(made.built, home / "registry"))
        story.say(f"{kind}: {reference}")
    return made, reference


def main(arguments: list[str]) -> int:
    """Run it; returns the exit code."""
    if len(arguments) > 1:
        print("usage: python -m demo [REF]", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print(
            "The demonstration needs root: it mounts an image, and an image's files have owners"
            " of their own. Say: sudo make demo",
            file=sys.stderr,
        )
        return 1
    try:
        asyncio.run(run(arguments[0] if arguments else ""))
    except (OrlopError, RuntimeError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except grpc.RpcError as error:
        print(f"failed: {error.details()}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
