"""A picture of a running pull, taken from the work that it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.ports.observe import LayerProgress, PullProgress
from orlop.pull.timeline import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orlop.model.digest import Digest
    from orlop.ports.clock import Clock
    from orlop.ports.observe import Activity, LayerPhase, PullPhase, Span
    from orlop.pull.download import Download
    from orlop.pull.layer import Layer
    from orlop.pull.plan import LayerPlan, Plan

_OWN: Final[Mapping[PullPhase, Activity]] = {
    "resolving": "resolving",
    "syncing": "syncing",
    "publishing": "publishing",
}
"""What a pull does itself; all else is done by its layers."""


class Tracker:
    """Where one pull stands; the pipeline sets the fields as it goes on."""

    def __init__(self, reference: str, platform: str, clock: Clock) -> None:
        self.reference = reference
        self.platform = platform
        self.error = ""
        self.resolved: Digest | None = None
        self.plan: Plan | None = None
        self.downloads: Mapping[Digest, Download] = {}
        self.layers: Mapping[str, Layer] = {}
        self._clock = clock
        self._started = clock.monotonic()
        self._ended: float | None = None
        self._phase: PullPhase = "queued"
        self._record = Recorder()

    @property
    def phase(self) -> PullPhase:
        """What the pull is doing."""
        return self._phase

    @phase.setter
    def phase(self, phase: PullPhase) -> None:
        self._phase = phase
        now = self._clock.monotonic()
        if (activity := _OWN.get(phase)) is not None:
            self._record.begin(activity, now)
        else:
            self._record.end(now)

    def end(self, phase: PullPhase, error: str = "") -> None:
        """Stop the clock."""
        self.phase = phase
        self.error = error
        self._ended = self._clock.monotonic()

    def picture(self) -> PullProgress:
        """The pull as it is now."""
        now = self._clock.monotonic() if self._ended is None else self._ended
        layers = self.plan.layers if self.plan is not None else ()
        return PullProgress(
            reference=self.reference,
            platform=self.platform,
            phase=self.phase,
            elapsed=now - self._started,
            layers=tuple(self._layer(layer) for layer in layers),
            resolved=self.resolved,
            error=self.error,
            spans=() if self._ended is None else tuple(self._spans(self._ended)),
        )

    def _spans(self, ended: float) -> Iterator[Span]:
        """Where the time went; a layer's as long as this pull had to do with it."""
        yield from self._record.spans(self._started, ended)
        told = set()
        for plan in self.plan.layers if self.plan is not None else ():
            digest = plan.descriptor.digest
            if digest not in told and (download := self.downloads.get(digest)) is not None:
                yield from download.record.spans(self._started, ended, layer=digest)
            told.add(digest)
            if (layer := self.layers.get(plan.chain_id)) is not None:
                yield from layer.record.spans(self._started, ended, layer=digest)

    def _layer(self, plan: LayerPlan) -> LayerProgress:
        size = plan.descriptor.size
        download = self.downloads.get(plan.descriptor.digest)
        layer = self.layers.get(plan.chain_id)
        downloaded = size if not plan.fetch else download.available if download else 0
        unpacked = size if not plan.unpack else layer.consumed if layer else 0
        return LayerProgress(
            digest=plan.descriptor.digest,
            size=size,
            phase=self._phase_of(plan, downloaded, unpacked, download),
            downloaded=downloaded,
            unpacked=unpacked,
        )

    def _phase_of(
        self, plan: LayerPlan, downloaded: int, unpacked: int, download: Download | None
    ) -> LayerPhase:
        if not plan.fetch and not plan.unpack:
            return "present"
        size = plan.descriptor.size
        if downloaded < size:
            return "waiting" if download is None or download.waiting else "downloading"
        return "unpacking" if unpacked < size else "staged"
