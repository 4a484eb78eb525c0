"""The process that fuzzes one target: ``python -m fuzz.inside TARGET SECONDS WORK``.

Apart from ``fuzz.__main__``, because the fuzzer watches only what is imported after it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["orlop", "fuzz.targets"]):
    from fuzz.targets import TARGETS

_LONGEST: Final = {"documents": 4096, "configuration": 4096, "hosts": 4096, "tar": 16384}
_MEMORY_MB: Final = 2048
_SLOW_SECONDS: Final = 10


def main(name: str, seconds: int, work: Path) -> None:
    """Search, from the inputs in ``work``; never returns."""
    atheris.Setup(
        [
            "fuzz",
            str(work),
            f"-max_total_time={seconds}",
            f"-max_len={_LONGEST.get(name, 2048)}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-timeout={_SLOW_SECONDS}",
            f"-artifact_prefix={work}/found-",
            "-print_final_stats=1",
        ],
        TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
