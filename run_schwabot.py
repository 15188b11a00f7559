"""``python run_schwabot.py ...`` is ``python -m schwabot.run ...``, for a checkout that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent / "kernels"))
    try:
        from schwabot.run import main
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    main()
