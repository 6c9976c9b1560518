"""Pages in a real browser, at a phone's width: nothing sticks out, nothing is refused, nothing is fetched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium import webdriver

from tests.labeling.conftest import browser  # noqa: F401  (a fixture)

PAGES = ("index", "concepts", "methods/prefine", "reference/configuration", "reference/cli", "notebook/main-experiment")
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
_WIDTH = "return document.documentElement.scrollWidth"
_FETCHED = "return performance.getEntriesByType('resource').map(entry => entry.name)"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_pages_fit_a_phone_and_fetch_nothing(address: str, browser: webdriver.Chrome):  # noqa: F811
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    for page in PAGES:
        browser.get(f"{address}/{page}.html")
        assert browser.execute_script("return innerWidth") == PHONE["width"]
        assert browser.execute_script(_WIDTH) <= PHONE["width"], page
        fetched = browser.execute_script(_FETCHED)
        assert fetched
        assert [name for name in fetched if not name.startswith(address)] == []
        assert browser.get_log("browser") == []


def test_a_script_from_elsewhere_is_refused(address: str, site: Path, browser: webdriver.Chrome):  # noqa: F811
    page = (site / "index.html").read_text()
    (site / "planted.html").write_text(
        page.replace("</head>", '<script src="https://example.org/a.js"></script></head>')
    )
    browser.get(f"{address}/planted.html")
    (site / "planted.html").unlink()
    [message] = [entry["message"] for entry in browser.get_log("browser") if "example.org" in entry["message"]]
    assert "Content Security Policy" in message
