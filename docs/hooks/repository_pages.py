"""Pages of the site that are files of the repository outside docs/, and links between the two."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHOLE = {"SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
CLUSTER = "cluster/README.md"
REST = "how-to/cluster.md"  # of the sections of CLUSTER without a page of their own
SECTIONS = {  # headings of CLUSTER that have a page each
    "SLURM": "how-to/slurm.md",
    "Kubernetes": "how-to/kubernetes.md",
    "AWS and Google Cloud": "how-to/cloud.md",
    "MLflow": "how-to/mlflow-server.md",
}
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")


def pages() -> dict[str, str]:
    """The Markdown of each page by its place in the site."""
    made = {uri: _page(ROOT / name, (ROOT / name).read_text(), uri) for name, uri in WHOLE.items()}
    first, *sections = re.split(r"^(?=## )", (ROOT / CLUSTER).read_text(), flags=re.MULTILINE)
    rest = [first]
    for section in sections:
        heading = section.splitlines()[0].removeprefix("## ")
        if heading in SECTIONS:
            made[SECTIONS[heading]] = _page(ROOT / CLUSTER, section.removeprefix("#"), SECTIONS[heading])
        else:
            rest.append(section)
    return {**made, REST: _page(ROOT / CLUSTER, "".join(rest), REST)}


def _page(source: Path, markdown: str, uri: str) -> str:
    return with_site_links(markdown, source.relative_to(ROOT).as_posix(), uri)


def with_site_links(markdown: str, source: str, uri: str) -> str:
    """Markdown of the repository with links that work in the site.

    Args:
        markdown: the text.
        source: the file that it is from, relative to the repository.
        uri: its page's place in the site.
    """

    def replaced(found: re.Match[str]) -> str:
        target, anchor = found["target"], found["anchor"] or ""
        if ":" in target or (not target and source != CLUSTER):
            return found[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target)) if target else source
        page = _page_of(place, anchor)
        if page is None:
            return found[0] if source.startswith("docs/") and place.startswith("docs/") else _as_code(found, place)
        page, anchor = page
        link = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"{found['image']}[{_text(found['text'], page)}]({link}{anchor})"

    return _LINK.sub(replaced, markdown)


def _page_of(place: str, anchor: str) -> tuple[str, str] | None:
    """The page, and the anchor in it, that a file of the repository is; None: it is in no page."""
    if place == CLUSTER:
        for heading, page in SECTIONS.items():
            if anchor == "#" + heading.lower().replace(" ", "-"):
                return page, ""
        return REST, anchor
    if place in WHOLE:
        return WHOLE[place], anchor
    if place.startswith("docs/") and (ROOT / place).exists():
        return place.removeprefix("docs/"), anchor
    return None


def _text(text: str, page: str) -> str:
    """A link's text; a file's name as the text becomes the page's name."""
    name = posixpath.basename(page).removesuffix(".md").replace("-", " ")
    return name if text.endswith(".md") else text


def _as_code(found: re.Match[str], place: str) -> str:
    """What stands for a link to a file of the repository that is no page."""
    if not os.path.exists(ROOT / place):
        return found[0]
    return f"{found['text']} (`{place}`)" if found["text"].strip("`") not in place else f"`{place}`"
