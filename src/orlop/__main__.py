"""``python -m orlop`` and the console script ``orlop``; all of it is in ``orlop.cli``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    from orlop.cli.main import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
