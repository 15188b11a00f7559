"""Known vulnerabilities of the locked packages: ``python deploy/audit.py [--offline-ok]``.

pip-audit asks the OSV database. It is asked first about a package that is known to be bad: a service that can't be
reached, or knows nothing of that, can't clear the others.

exit  0 nothing found, or nobody to ask and --offline-ok    1 found, or the lock can't be read    2 nobody to ask
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

SERVICE = "https://api.osv.dev/v1/query"
BAD = {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}
WAIT_S = 10


def why_not(service: str) -> str:
    """Why this service can't be asked; empty where it can.

    Args:
        service: address of it.
    """
    question = urllib.request.Request(service, json.dumps(BAD).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(question, timeout=WAIT_S) as answer:
            known = json.load(answer)["vulns"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if known else "it knows no vulnerable package"


def main() -> int:
    """Ask."""
    parser = argparse.ArgumentParser(description="known vulnerabilities of the locked packages")
    parser.add_argument("--offline-ok", action="store_true", help="warn where the service can't be reached")
    parser.add_argument("--service", default=SERVICE, help="default: %(default)s")
    parser.add_argument("--requirement", type=Path, default=Path("requirements.txt"), help="default: %(default)s")
    given = parser.parse_args()
    reason = why_not(given.service)
    if reason:
        sys.stderr.write(
            f"{'!' * 80}\n! NOT AUDITED: {given.service} can't be asked ({reason}).\n"
            "! Packages with known vulnerabilities would not be seen. Run 'make audit' where there is a network.\n"
            f"{'!' * 80}\n"
        )
        return 0 if given.offline_ok else 2
    command = [
        sys.executable, "-m", "pip_audit", "--strict", "--require-hashes", "--disable-pip", "--progress-spinner", "off",
        "--vulnerability-service", "osv", "--osv-url", given.service, "--requirement", str(given.requirement),
    ]  # fmt: skip
    return min(1, abs(subprocess.run(command, check=False).returncode))


if __name__ == "__main__":
    sys.exit(main())
