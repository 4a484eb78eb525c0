"""The table of built-in plugins: what they make of their sections."""

from __future__ import annotations

from orlop.builtin import _verifier_settings
from orlop.config.durations import Duration
from orlop.config.related import VerifierConfig
from orlop.pull.verifiers import VerifierSettings


def test_settings_of_the_verifiers() -> None:
    made = _verifier_settings(VerifierConfig())
    assert made == VerifierSettings("/opt/containerd/image-verifier/bin")
    made = _verifier_settings(
        VerifierConfig(
            bin_dir="/verify", max_verifiers=-1, per_verifier_timeout=Duration.parse("1m")
        )
    )
    assert made == VerifierSettings(
        "/verify", required=True, max_verifiers=-1, per_verifier_timeout=60.0
    )
