"""The report in a real browser: tables are sorted, points tell their values, nothing is fetched."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from prefine_ray.analysis.report import Report
from tests.labeling.conftest import browser  # noqa: F401  (a fixture)

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture
def page(report: Report, browser: webdriver.Chrome) -> webdriver.Chrome:  # noqa: F811
    browser.get(report.page.as_uri())
    return browser


def column(table: WebElement, place: int) -> list[str]:
    cells = table.find_elements(By.CSS_SELECTOR, f"tbody tr > td:nth-child({place + 1})")
    return [cell.get_attribute("textContent").strip() for cell in cells]


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split("[")[0].rstrip("!?*★ %")) for text in texts if text[0].isdigit()]


def test_a_click_sorts_a_table_and_another_turns_it_round(page: webdriver.Chrome):
    table = page.find_element(By.CSS_SELECTOR, "table.short")
    button = table.find_elements(By.CSS_SELECTOR, "button.sort")[2]
    place = int(button.get_attribute("data-column"))
    before = sorted(column(table, place))
    for order in ("ascending", "descending"):
        button.click()
        values = numbers(column(table, place))
        assert len(set(values)) > 1
        assert values == sorted(values, reverse=order == "descending")
        assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == order
    assert sorted(column(table, place)) == before


def test_rows_of_a_grouped_table_stay_under_their_task(page: webdriver.Chrome):
    table = page.find_element(By.CSS_SELECTOR, "table.long")
    groups = (
        "return [...arguments[0].querySelectorAll('tbody tr')].map(r => r.querySelector('th') ? 'T' : '.').join('')"
    )
    before = page.execute_script(groups, table)
    page.execute_script("arguments[0].click()", table.find_elements(By.CSS_SELECTOR, "button.sort")[-1])
    assert page.execute_script(groups, table) == before
    assert "T.." in before


def test_a_point_tells_its_values(page: webdriver.Chrome):
    spots = page.find_elements(By.CSS_SELECTOR, "figure .spot")
    texts = [spot.get_attribute("aria-label") for spot in spots]
    assert any(text.startswith("weight 5: reward 0.") and "violations" in text for text in texts)
    assert any(text.startswith("BallRun, best weight less weight 0: ") for text in texts)
    shown = "return getComputedStyle(arguments[0], '::after').content"
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", spots[0])
    assert page.execute_script(shown, spots[0]) == "none"
    ActionChains(page).move_to_element(spots[0]).perform()
    assert texts[0][:20] in page.execute_script(shown, spots[0])


def test_the_page_fits_a_phone_and_fetches_nothing(page: webdriver.Chrome):
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page.refresh()
    assert page.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
    fetched = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert page.get_log("browser") == []
