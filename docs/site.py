"""Hooks of ``make docs``: where links lead, and the pages that are not files of docs/.

In the repository a link goes to a file; in the site it goes to that file's page, where it has one, and is plain text
where it has none. So pages are written once, with links that work in the repository.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "_build"
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(```.*?^```|    .*?$)", re.MULTILINE | re.DOTALL)
MODULES = "<!-- modules -->"
_made = tempfile.TemporaryDirectory(prefix="schwabot-docs-")


def elsewhere() -> dict[str, str]:
    """Pages and pictures that lie outside docs/: path in the repository → path in the site."""
    experiments = (ROOT / "experiments").rglob("*")
    files = [file.relative_to(ROOT).as_posix() for file in experiments if file.name in ("README.md", "figure.png")]
    return {"CHANGELOG.md": "changelog.md"} | {file: file for file in sorted(files)}


PAGES = elsewhere()


def on_config(config: Any) -> Any:
    """Write to docs/_build, which mkdocs takes from nobody's configuration because it lies in docs/."""
    if config.site_dir == str(ROOT / "site"):
        config.site_dir = str(OUT)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add what is not in docs/: experiments, changelog, the pages of every module's docstrings."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    folder = Path(_made.name)
    # A process of its own, as it imports everything.
    command = [sys.executable, str(ROOT / "docs" / "api_pages.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stdout or done.stderr:
        raise PluginError(f"docs/api_pages.py: {done.stdout}{done.stderr}")
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            name = f"api/{file.relative_to(folder).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links of the repository into links of the site."""
    here = page.file.src_uri
    source = next((file for file, name in PAGES.items() if name == here), f"docs/{here}")
    if MODULES in markdown:
        markdown = markdown.replace(MODULES, modules(files))
    parts = FENCE.split(markdown)
    return "".join(part if FENCE.fullmatch(part) else LINK.sub(_link(source, here), part) for part in parts)


def _link(source: str, here: str) -> Any:
    def replace(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if not target or ":" in target:
            return found[0]
        file = _joined(PurePosixPath(source).parent, target)
        page = PAGES.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else None)
        if page is not None:
            return f"[{text}]({_relative(page, PurePosixPath(here).parent)}{anchor})"
        if not (ROOT / file).exists():
            return found[0]  # left for mkdocs to find fault with
        return f"`{file}`" if PurePosixPath(file).name in text else f"{text} (`{file}`)"

    return replace


def _joined(folder: PurePosixPath, target: str) -> str:
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(target).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _relative(page: str, folder: PurePosixPath) -> str:
    return "../" * len(folder.parts) + page


def modules(files: Any) -> str:
    """A list of links to every module's page."""
    names = sorted(file.src_uri for file in files if file.src_uri.startswith("api/") and file.src_uri.endswith(".html"))
    lines = []
    for name in names:
        module = name.removeprefix("api/").removesuffix(".html").replace("/", ".")
        if module not in ("index", "search"):
            lines.append(f"- [`{module}`]({name})")
    return "\n".join(lines)
