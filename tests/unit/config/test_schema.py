"""The schema: defaults, explanations and what its values tell of themselves."""

import msgspec
import pytest

from orlop.config.decode import check
from orlop.config.schema import (
    Config,
    GrpcConfig,
    ImageConfig,
    MetricsConfig,
    Mirror,
    RegistryAuth,
    RegistryConfig,
    RegistryHostConfig,
    RuntimePlatform,
)
from orlop.errors import InvalidArgument


def test_defaults_are_containerds_but_for_durability() -> None:
    images = ImageConfig()
    assert images.snapshotter == "overlayfs"
    assert images.disable_snapshot_annotations is True
    assert images.discard_unpacked_layers is False
    assert images.pinned_images == {"sandbox": "registry.k8s.io/pause:3.10.2"}
    assert images.image_decryption.key_model == "node"
    assert images.max_concurrent_downloads == 3
    assert images.concurrent_layer_fetch_buffer == 0
    assert str(images.image_pull_progress_timeout) == "5m0s"
    assert images.stats_collect_period == 10
    assert images.use_local_image_pull is False
    assert images.runtime_platforms == {}
    assert images.registry == RegistryConfig()
    assert images.image_pull_with_sync_fs is True


def test_places() -> None:
    config = Config()
    assert (config.root, config.state) == ("/var/lib/orlop", "/run/orlop")
    assert config.grpc.socket_path == "/run/orlop/orlop.sock"
    assert GrpcConfig(address="/x").socket_path == "/x"
    assert config.metrics.address == ""


@pytest.mark.parametrize(
    "kind",
    [ImageConfig, RegistryConfig, GrpcConfig, MetricsConfig, RuntimePlatform, Mirror, RegistryAuth],
)
def test_every_key_is_explained(kind: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(kind):
        explanations = [m.description for m in field.type.__metadata__ if m.description]
        assert len(explanations) == 1, field.name
        assert explanations[0].endswith("."), field.name


def test_values_are_frozen() -> None:
    name = "snapshotter"
    with pytest.raises(AttributeError):
        setattr(ImageConfig(), name, "x")


def test_the_default_table_of_one_config_is_not_that_of_another() -> None:
    assert ImageConfig().pinned_images is not ImageConfig().pinned_images


def test_secrets_are_not_shown() -> None:
    auth = RegistryAuth(username="me", password="hunter2", identitytoken="hunter3")
    registry = RegistryConfig(
        configs={"a": RegistryHostConfig(auth=auth)},
        auths={"https://u:hunter4@b": auth},
        headers={"Authorization": ("hunter5",)},
    )
    shown = repr(Config(images=ImageConfig(registry=registry)))
    assert "hunter" not in shown


def test_auth_for() -> None:
    one, two = RegistryAuth(username="one"), RegistryAuth(username="two")
    registry = RegistryConfig(
        configs={"a.example": RegistryHostConfig(auth=one), "b.example": RegistryHostConfig()},
        auths={"https://a.example/v1/": two, "b.example": two},
    )
    assert registry.auth_for("a.example") == one
    assert registry.auth_for("b.example") == two
    assert registry.auth_for("c.example") is None


def test_check_accepts_the_defaults() -> None:
    assert check(Config()) == Config()
    assert check(ImageConfig()) == ImageConfig()


def test_check_refuses_what_a_document_could_not_say() -> None:
    with pytest.raises(InvalidArgument, match=r"^images\.stats_collect_period: .* >= 1"):
        check(Config(images=ImageConfig(stats_collect_period=0)))
