"""Pages of every module's docstrings, as HTML: ``python docs/api_pages.py [FOLDER]``, by default docs/_build.

``schwabot`` and ``schwabot.signals`` import their public names on first use and list nothing else as public, so pdoc
alone would write pages of bare names and none of their modules.
"""

from __future__ import annotations

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import schwabot
import schwabot.signals


def write(folder: Path) -> None:
    """Write the pages, starting with index.html."""
    for package in (schwabot, schwabot.signals):
        for name in package.__all__:
            setattr(package, name, getattr(package, name))
    # pdoc looks the types in a NamedTuple's constructor up in another module than its own.
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    theme = Path(__file__).parent / "api_theme"
    pdoc.render.configure(docformat="google", show_source=False, template_directory=theme)
    modules = [f"schwabot.{module.name}" for module in pkgutil.iter_modules(schwabot.__path__)]
    pdoc.pdoc("schwabot", *modules, "schwabot_kernels", output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "_build")
