"""A real browser on the page of `prefine label`: from clips to labels, and from labels to a fine-tuned policy."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from prefine_ray.cli.parser import main
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.data.labels import read_labels
from prefine_ray.data.pairs import read_pairs
from prefine_ray.policies.files import load_policy
from tests.makers import ball_run_episodes

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
SAFE = ball_run_episodes().episode_costs <= 20
SCRIPT = "<img src=x onerror=document.title='run'>"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "ball.hdf5"
    write_dsrl(path, ball_run_episodes(), {"task": "BallRun"})
    return path


@contextmanager
def served(data: Path, folder: Path, *options: str):
    """`prefine label` in a process of its own: its address; ends it as Ctrl-C does and checks what it says."""
    command = [sys.executable, "-m", "prefine_ray", "label", str(data), "--task", "BallRun", "--output", str(folder)]
    process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("Open ").strip()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
        assert process.returncode == 0
        assert "answers by" in rest
    finally:
        process.kill()
        process.wait()


def wait(browser: webdriver.Chrome, until: Callable[[webdriver.Chrome], object]) -> None:
    WebDriverWait(browser, 90, poll_frequency=0.05).until(until)


def asked(browser: webdriver.Chrome) -> dict:
    """The state of the page once its clips are there, or all is answered."""
    ready = "#answers button:enabled, #done:not([hidden])"
    wait(browser, lambda page: page.find_elements(By.CSS_SELECTOR, ready) and not page.execute_script("return busy"))
    return browser.execute_script("return state")


def start(browser: webdriver.Chrome, address: str, rater: str) -> dict:
    browser.get(address)
    browser.find_element(By.ID, "name").send_keys(rater, Keys.ENTER)
    return asked(browser)


def press(browser: webdriver.Chrome, key: str) -> dict:
    """The state after a key; the number of answers tells that it was taken."""
    before = browser.execute_script("return state.number")
    browser.find_element(By.TAG_NAME, "body").send_keys(key)
    wait(browser, lambda page: page.execute_script("return state.number") != before)
    return asked(browser)


def check_requests(browser: webdriver.Chrome, address: str) -> None:
    """Nothing was asked of anybody else, and the page has no error to tell."""
    home = address.split("?")[0]
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert len(urls) > 5
    here = (home, "blob:", "data:", "about:", "chrome:")  # chrome: is the browser's own empty tab
    assert [url for url in urls if not url.startswith(here)] == []
    assert browser.get_log("browser") == []


def fine_tune(folder: Path, data: Path, labels: Path, *options: str) -> Path:
    """A short fine-tuning on labels; the policy file."""
    short = {"name": "short", "finetune": {"steps": 5, "batch_size": 32}}
    (folder / "short.yaml").write_text(yaml.safe_dump(short))
    words = ["--task", "BallRun", "--data", str(data), "--labels", str(labels), "--config", str(folder / "short.yaml")]
    assert main(["finetune", *words, "--output", str(folder / "tuned"), "--local", *options]) == 0
    return folder / "tuned" / "seed0.safetensors"


def test_clips_become_labels_and_labels_a_policy(browser, data, tmp_path):
    out = tmp_path / "out"
    with served(data, out, "--frames", "3", "--questions", "8", "--repeats", "0") as address:
        state = start(browser, address, SCRIPT)
        assert browser.find_element(By.ID, "rater").text == SCRIPT
        assert browser.title == "Label BallRun"
        assert not browser.find_elements(By.CSS_SELECTOR, "img")
        video = browser.find_element(By.CSS_SELECTOR, "video")
        assert browser.execute_script("return arguments[0].videoWidth", video) == 480
        assert "cost" not in browser.page_source.split("<script")[0]

        browser.find_element(By.TAG_NAME, "body").send_keys("+")
        assert browser.execute_script("return arguments[0].playbackRate", video) == 2
        wrong = "u" if SAFE[state["trajectories"][0]] else "s"
        press(browser, wrong)
        assert press(browser, "z") == state

        for number in range(8):
            assert state["number"] == number
            if number == 3:
                browser.refresh()
                assert asked(browser) == state
            state = press(browser, "s" if SAFE[state["trajectories"][0]] else "u")
        assert browser.find_element(By.ID, "done").is_displayed()
        assert browser.find_element(By.ID, "count").text == "8 of 8"
        check_requests(browser, address)
    sets = read_labels(out / "labels.csv", 8)
    assert sets.preferred.tolist() == [number for number in range(8) if SAFE[number]]
    assert SCRIPT in (out / "labels.csv").read_text()
    header = load_policy(fine_tune(tmp_path, data, out / "labels.csv")).header
    assert header.made_by["preferred"] == "labels"


def videos_of(data: Path, folder: Path) -> AbstractContextManager[str]:
    """The page of pairs, of videos that somebody recorded."""
    own = folder / "videos"
    own.mkdir()
    from prefine_ray.rollouts.replay import replay
    from prefine_ray.rollouts.video import write_frames
    from prefine_ray.tasks.spec import get_task

    write_frames(own / "episode-0.mp4", replay(get_task("BallRun"), ball_run_episodes().select([0]), 2))
    for number in range(1, 8):
        shutil.copy(own / "episode-0.mp4", own / f"episode-{number}.mp4")
    return served(data, folder / "out", "--pairs", "--videos", str(own), "--questions", "10", "--repeats", "0")


def test_pairs_of_two_raters_in_two_tabs_and_on_a_phone(browser, data, tmp_path):
    with videos_of(data, tmp_path) as address:
        state = start(browser, address, "Ann")
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        browser.get(address)
        assert asked(browser) == state  # the same rater, the same question
        second = press(browser, "t")
        browser.switch_to.window(first)
        wait(browser, lambda page: page.execute_script("return state.number") == 1)  # the tab is shown again
        assert asked(browser) == second
        while state["trajectories"] is not None:
            state = asked(browser)
            if state["trajectories"] is not None:
                left, right = state["trajectories"]
                state = press(browser, "1" if left < right else Keys.ARROW_RIGHT)

        phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        browser.find_element(By.ID, "change").click()
        wait(browser, lambda page: page.find_element(By.ID, "start").is_displayed())
        browser.find_element(By.ID, "name").send_keys("Bob", Keys.ENTER)
        asked(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        for number in range(1, 11):
            left, right = asked(browser)["trajectories"]
            browser.find_element(By.CSS_SELECTOR, "button.left" if left < right else "button.right").click()
            wait(browser, lambda page, number=number: page.execute_script("return state.number") == number)
        assert "9 of 10 shared questions" in browser.find_element(By.ID, "agreement").text
        check_requests(browser, address)
    pairs = read_pairs(tmp_path / "out" / "pairs.csv", 8)
    assert (len(pairs), pairs.tie.sum()) == (20, 1)
    assert (pairs.better < pairs.worse)[~pairs.tie].all()
    policy = fine_tune(tmp_path, data, tmp_path / "out" / "pairs.csv", "--method", "prefine_pairs")
    assert load_policy(policy).header.made_by["method"] == "prefine_pairs"


def test_a_server_that_is_gone_is_said(browser, data, tmp_path):
    with videos_of(data, tmp_path) as address:
        start(browser, address, "Ann")
    browser.find_element(By.TAG_NAME, "body").send_keys("t")
    wait(browser, lambda page: "does not answer" in page.find_element(By.ID, "message").text)
