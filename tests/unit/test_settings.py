"""What is made of the sections of a configuration."""

from __future__ import annotations

from msgspec import structs

from orlop.config.durations import Duration
from orlop.config.related import SchedulerConfig, StreamProcessor, VerifierConfig
from orlop.config.schema import ImageConfig, ImageDecryption
from orlop.gc.schedule import ScheduleSettings
from orlop.model.limits import DEFAULTS
from orlop.pull.processing import Processing
from orlop.pull.verifiers import VerifierSettings
from orlop.settings import processing_settings, schedule_settings, verifier_settings


def test_settings_of_the_verifiers() -> None:
    made = verifier_settings(VerifierConfig())
    assert made == VerifierSettings("/opt/containerd/image-verifier/bin")
    made = verifier_settings(
        VerifierConfig(
            bin_dir="/verify", max_verifiers=-1, per_verifier_timeout=Duration.parse("1m")
        )
    )
    assert made == VerifierSettings(
        "/verify", required=True, max_verifiers=-1, per_verifier_timeout=60.0
    )


def test_settings_of_stream_processors() -> None:
    assert processing_settings({}, ImageConfig()) == Processing((), decrypt=True)
    table = {
        name: StreamProcessor(
            accepts=("a/b",), returns="c/d", path="/bin/x", args=("-q",), env=("K=V",)
        )
        for name in ("second", "first")
    }
    images = structs.replace(ImageConfig(), image_decryption=ImageDecryption(key_model=""))
    made = processing_settings(table, images)
    assert [one.id for one in made.processors] == ["first", "second"]
    first = made.processors[0]
    assert (first.accepts, first.returns, first.path) == (("a/b",), "c/d", "/bin/x")
    assert (first.args, first.env, made.decrypt) == (("-q",), ("K=V",), False)


def test_settings_of_the_schedule() -> None:
    assert schedule_settings(SchedulerConfig()) == ScheduleSettings()
    assert SchedulerConfig().ingest_expiry.seconds == DEFAULTS.ingest_seconds
    section = SchedulerConfig(
        pause_threshold=0.5,
        deletion_threshold=1,
        mutation_threshold=2,
        schedule_delay=Duration.parse("3s"),
        startup_delay=Duration.parse("4s"),
    )
    assert schedule_settings(section) == ScheduleSettings(0.5, 1, 2, 3.0, 4.0)
