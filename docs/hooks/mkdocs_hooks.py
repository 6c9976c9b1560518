"""The hook of MkDocs: adds the pages that are generated, and follows links that lead out of docs/.

Nothing that it makes is kept in the repository: the reference is read from the code, and pages such as the security
page are the files of the repository that GitHub shows, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import api_page
import commands_page
import repository_pages
import settings_page
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

GENERATED = {
    "reference/api.md": api_page.page,
    "reference/cli.md": commands_page.page,
    "reference/configuration.md": settings_page.page,
}
_INLINED = re.compile(r'<img [^>]*src="(?:\.\./)*pictures/(?P<name>[\w-]+\.svg)"[^>]*>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Formulas in ```math blocks, as GitHub has them, become MathML: no script is needed."""
    fence = {"name": "math", "class": "math", "format": _formula}
    config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", []).append(fence)
    return config


def _formula(source: str, *_: Any, **__: Any) -> str:
    return f'<div class="formula">{convert(source, display="block")}</div>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the reference and those of files outside docs/."""
    for uri, page in GENERATED.items():
        files.append(File.generated(config, uri, content=page()))
    for uri, content in repository_pages.pages().items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links to files outside docs/ lead to their pages."""
    return repository_pages.with_site_links(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def on_page_content(html: str, config: MkDocsConfig, **_: Any) -> str:
    """Puts drawings into the page itself, so that they follow its light or dark mode."""
    pictures = Path(config.docs_dir) / "pictures"
    return _INLINED.sub(lambda found: (pictures / found["name"]).read_text(), html)
