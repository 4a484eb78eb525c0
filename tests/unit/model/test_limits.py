"""Limits: the numbers that specifications and the kernel fix, and their form."""

from __future__ import annotations

import ast
import dataclasses
import inspect

import pytest

from orlop.model import limits
from orlop.model.limits import DEFAULTS, Limits


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("manifest_bytes", 4 << 20),  # distribution specification
        ("layers", 500),  # OVL_MAX_STACK
        ("path_bytes", 4096),  # PATH_MAX
        ("component_bytes", 255),  # NAME_MAX
        ("link_bytes", 4095),  # PATH_MAX less NUL
        ("xattr_name_bytes", 255),  # XATTR_NAME_MAX
        ("xattr_value_bytes", 65536),  # XATTR_SIZE_MAX
        ("zstd_window_bytes", 128 << 20),  # ZSTD_WINDOWLOG_LIMIT_DEFAULT
        ("label_bytes", 4096),  # containerd
        ("grpc_message_bytes", 16 << 20),  # kubelet
    ],
)
def test_what_others_fix(field: str, value: int) -> None:
    assert getattr(DEFAULTS, field) == value


def test_every_limit_is_a_positive_number() -> None:
    for field in dataclasses.fields(Limits):
        assert isinstance(field.default, int)
        assert field.default > 0


def test_every_limit_says_why() -> None:
    tree = ast.parse(inspect.getsource(limits))
    (body,) = (n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Limits")
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(following, ast.Expr), ast.unparse(statement)
            assert isinstance(following.value, ast.Constant)
            assert len(str(following.value.value)) > 20


def test_single_limits_can_be_replaced() -> None:
    changed = dataclasses.replace(DEFAULTS, layers=7)
    assert (changed.layers, changed.descriptors) == (7, DEFAULTS.descriptors)
    assert DEFAULTS.layers == 500
