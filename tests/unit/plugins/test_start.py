"""Plugins come up in order and go down in reverse, whatever happens."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest

from orlop.errors import FailedPrecondition, Internal, StoreFull, Unavailable
from orlop.plugins.graph import plan
from orlop.plugins.host import PluginState
from orlop.plugins.registration import Context, Registration, Skipped
from orlop.plugins.start import Setting, started


class Settings(msgspec.Struct, frozen=True):
    level: int = 1


def section(name: str, kind: type[msgspec.Struct]) -> msgspec.Struct:
    assert kind is Settings
    return Settings(level=len(name))


SETTING = Setting(section, "/r", "/s")

Init = Callable[[Context], AbstractAsyncContextManager[object]]


class Log:
    """What happened, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.contexts: dict[str, Context] = {}

    def init(self, name: str, error: Exception | None = None) -> Init:
        @asynccontextmanager
        async def run(context: Context) -> AsyncIterator[object]:
            self.contexts[name] = context
            if error is not None:
                raise error
            self.lines.append(f"+{name}")
            try:
                yield name.upper()
            finally:
                self.lines.append(f"-{name}")

        return run


async def test_up_in_order_down_in_reverse() -> None:
    log = Log()
    plugins = plan(
        (
            Registration("a.v1", "x", log.init("a"), requires=("b.v1",), config=Settings),
            Registration("b.v1", "x", log.init("b")),
            Registration("b.v1", "y", log.init("c")),
        )
    )
    async with started(plugins, SETTING) as running:
        assert log.lines == ["+b", "+c", "+a"]
        assert running.instances == {"b.v1.x": "B", "b.v1.y": "C", "a.v1.x": "A"}
        assert {state.state for state in running.states} == {"loaded"}
    assert log.lines[3:] == ["-a", "-c", "-b"]
    context = log.contexts["a"]
    assert context.config == Settings(level=len("a.v1.x"))
    assert (context.root, context.state) == ("/r/a.v1.x", "/s/a.v1.x")
    assert context.started == {"b.v1.x": "B", "b.v1.y": "C"}
    context = log.contexts["b"]
    assert (context.config, context.started) == (None, {})


async def test_a_failure_takes_down_what_has_started() -> None:
    log = Log()
    plugins = plan(
        (
            Registration("a.v1", "x", log.init("a")),
            Registration("b.v1", "x", log.init("b", StoreFull("no space"))),
        )
    )
    with pytest.raises(StoreFull, match=r"^plugin b\.v1\.x cannot start: no space$"):
        async with started(plugins, SETTING):
            pytest.fail("it started")
    assert log.lines == ["+a", "-a"]


async def test_an_error_of_the_body_is_not_taken_for_a_plugins() -> None:
    log = Log()
    plugins = plan((Registration("a.v1", "x", log.init("a"), optional=True),))
    with pytest.raises(ZeroDivisionError):
        async with started(plugins, SETTING):
            raise ZeroDivisionError
    assert log.lines == ["+a", "-a"]


async def test_optional_plugins_fail_alone_with_those_that_need_them() -> None:
    log = Log()
    plugins = plan(
        (
            Registration("a.v1", "x", log.init("a", OSError("foreign\nerror")), optional=True),
            Registration("b.v1", "x", log.init("b"), requires=("a.v1",), optional=True),
            Registration("c.v1", "x", log.init("c")),
            Registration("d.v1", "x", log.init("d"), requires=("z.v1",), optional=True),
        )
    )
    async with started(plugins, SETTING) as running:
        assert dict(running.instances) == {"c.v1.x": "C"}
        assert running.states == (
            PluginState(
                "a.v1", "x", "failed", "plugin a.v1.x cannot start: OSError: foreign error"
            ),
            PluginState(
                "b.v1",
                "x",
                "failed",
                "plugin b.v1.x requires a.v1, which has not started",
                ("a.v1",),
            ),
            PluginState("c.v1", "x", "loaded"),
            PluginState("d.v1", "x", "skipped", "it requires z.v1, which is not there", ("z.v1",)),
        )


async def test_one_of_a_type_is_enough() -> None:
    log = Log()
    plugins = plan(
        (
            Registration("a.v1", "x", log.init("a", StoreFull("full")), optional=True),
            Registration("a.v1", "y", log.init("b")),
            Registration("c.v1", "x", log.init("c"), requires=("a.v1",)),
        )
    )
    async with started(plugins, SETTING) as running:
        assert running.instances["c.v1.x"] == "C"
    assert log.contexts["c"].started == {"a.v1.y": "B"}


async def test_what_is_not_optional_fails_with_its_requirement() -> None:
    log = Log()
    plugins = plan(
        (
            Registration("a.v1", "x", log.init("a", StoreFull("full")), optional=True),
            Registration("b.v1", "x", log.init("b"), requires=("a.v1.x",)),
        )
    )
    with pytest.raises(
        FailedPrecondition, match=r"b\.v1\.x requires a\.v1\.x, which has not started"
    ):
        async with started(plugins, SETTING):
            pytest.fail("it started")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreFull("full"), StoreFull),
        (KeyError("defect"), Internal),
        (OSError(errno.ENFILE, "Too many open files in system"), Unavailable),
        (OSError(errno.ENOENT, "No such file or directory"), Internal),
        (Skipped("nothing to do"), FailedPrecondition),
    ],
)
async def test_a_required_plugin_must_start(error: Exception, kind: type[Exception]) -> None:
    log = Log()
    plugins = plan((Registration("a.v1", "x", log.init("a", error), optional=True),))
    required = frozenset({"a.v1.x"})
    with pytest.raises(kind, match=r"^plugin a\.v1\.x cannot start: "):
        async with started(plugins, SETTING, required=required):
            pytest.fail("it started")


async def test_a_plugin_that_has_nothing_to_do_is_skipped() -> None:
    log = Log()
    plugins = plan(
        (Registration("a.v1", "x", log.init("a", Skipped("no address")), optional=True),)
    )
    async with started(plugins, SETTING) as running:
        assert running.states == (PluginState("a.v1", "x", "skipped", "no address"),)


async def test_what_is_wanted_is_given_when_it_runs() -> None:
    log = Log()
    plugins = plan(
        (
            Registration("a.v1", "x", log.init("a", OSError("broken")), optional=True),
            Registration("a.v1", "y", log.init("b")),
            Registration("c.v1", "x", log.init("c"), wants=("a.v1", "z.v1")),
        )
    )
    async with started(plugins, SETTING):
        assert log.contexts["c"].started == {"a.v1.y": "B"}


async def test_further_tables_are_given() -> None:
    log = Log()
    also = {"x.v1.y": Settings}
    plugins = plan((Registration("a.v1", "x", log.init("a"), also=also),))
    async with started(plugins, SETTING):
        assert log.contexts["a"].also == {"x.v1.y": Settings(level=6)}
        assert log.contexts["a"].config is None


async def test_facts_and_hooks_are_gathered_from_what_runs() -> None:
    @asynccontextmanager
    async def init(context: Context) -> AsyncIterator[object]:
        context.export("root", context.root)
        context.on_reload(lambda _: lambda: None, keys=("level",))
        if context.config == Settings(level=len("a.v1.xx")):
            raise OSError("broken")
        yield None

    plugins = plan(
        (
            Registration("a.v1", "x", init, config=Settings),
            Registration("a.v1", "xx", init, config=Settings, optional=True),
        )
    )
    async with started(plugins, SETTING) as running:
        assert [state.exports for state in running.states] == [{"root": "/r/a.v1.x"}, {}]
        assert [hook.plugin for hook in running.hooks] == ["a.v1.x"]
