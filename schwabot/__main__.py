"""The command ``schwabot``: ``schwabot doctor ...`` looks at the machine, all else is for ``schwabot.run``."""

from __future__ import annotations

import sys


def main() -> None:
    """Hand over. What looks for missing packages must not need them, so nothing is imported before.

    Raises:
        SystemExit: with the exit code of what was asked for.
    """
    if sys.argv[1:2] == ["doctor"]:
        from schwabot.doctor.__main__ import main as doctor

        sys.exit(doctor(sys.argv[2:]))
    from schwabot.run import main as run

    run()


if __name__ == "__main__":
    main()
