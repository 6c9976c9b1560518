"""The built site: links lead somewhere (the build is strict), nothing comes from elsewhere, nothing is missing."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import prefine_ray
from prefine_ray.cli.parser import build_parser
from prefine_ray.experiment.config import SweepConfig, config_type
from tests.docs.conftest import ROOT

_LOADS = {"link": "href", "use": "href", **dict.fromkeys(("script", "img", "iframe", "source", "video"), "src")}


class Loads(HTMLParser):
    """Collects what a page makes the browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if address := dict(attrs).get(_LOADS.get(tag, "")):
            self.found.append(address)


def loads(html: str) -> list[str]:
    parser = Loads()
    parser.feed(html)
    return parser.found


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_no_page_loads_anything_from_elsewhere(site: Path):
    assert len(pages(site)) > 40
    for page in pages(site):
        text = page.read_text()
        addresses = loads(text)
        assert addresses
        assert [address for address in addresses if re.match(r"(https?:)?//", address)] == [], page
        assert "default-src 'self'" in text  # the browser refuses what scripts might ask for


def test_no_stylesheet_loads_anything_from_elsewhere(site: Path):
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//[^)]*", sheet.read_text()) == [], sheet


def test_a_planted_script_is_found():
    assert loads('<p><script src="https://example.org/a.js"></script>') == ["https://example.org/a.js"]


def test_the_drawing_is_part_of_the_page(site: Path):
    concepts = (site / "concepts.html").read_text()
    assert '<svg class="drawing"' in concepts
    assert "data-flow.svg" not in concepts


def test_formulas_need_no_script(site: Path):
    assert (site / "methods" / "prefine.html").read_text().count("<math ") >= 4


def test_every_command_is_in_the_reference(site: Path):
    page = (site / "reference" / "cli.html").read_text()
    for parser in parsers(build_parser()):
        assert f">{parser.prog}<" in page
        for action in parser._actions:
            shown = action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
            assert not shown or all(f"<code>{option}</code>" in page for option in action.option_strings)


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = []
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for command in group.choices.values():
                found += [command, *parsers(command)]
    return found


def test_every_key_is_in_the_reference(site: Path):
    page = (site / "reference" / "configuration.html").read_text()
    for name, field in config_type(SweepConfig).model_fields.items():
        assert f"<code>{name}</code>" in page or f'id="{name}"' in page
        for key in getattr(field.annotation, "model_fields", {}):
            assert f"<code>{key}</code>" in page or f"<code>{key}." in page, f"{name}.{key}"


def test_every_key_has_a_comment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    assert importlib.import_module("settings_page").undocumented() == []


def test_every_public_name_is_in_the_reference(site: Path):
    page = (site / "reference" / "api.html").read_text()
    for name in prefine_ray.__all__:
        assert f'id="{name}"' in page
    assert page.count("doc-contents") >= len(prefine_ray.__all__) - 1  # constants may have no text


def test_a_link_to_nowhere_stops_the_build(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[gone](gone.md) and [no such place](#nowhere)\n")
    text = (ROOT / "mkdocs.yml").read_text()
    validation = text[text.index("validation:") : text.index("\nnav:")]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: small\nstrict: true\ntheme: mkdocs\n{validation}\n")
    command = [sys.executable, "-m", "mkdocs", "build"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert built.returncode != 0
    assert "gone.md" in built.stderr
    assert "#nowhere" in built.stderr
