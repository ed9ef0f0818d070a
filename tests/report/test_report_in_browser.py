"""In a real browser nothing scrolls sideways, nothing is asked of the network, tabs and enlarging work."""

import shutil

import pytest
from made_run import FINDINGS, MadeRun, make_run

from modicum.report import build

CHROMIUM = shutil.which("chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += ["--disable-background-networking", "--disable-component-update"]
LONG = (
    "Normal",
    "Branch retinal vein occlusion with macular oedema",
    "Other_condition_with_one_very_long_name",
)
RUNS = {
    "findings": MadeRun(
        "multi-label", FINDINGS, images=(("test", 60), ("val", 40)), pictures=3, resamples=20
    ),
    "long": MadeRun("multi-class", LONG, images=(("test", 60),), pictures=3, resamples=20),
    "unfinished": MadeRun(finished=False),
}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra 'browser'")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: build(make_run(folder / name, run)) for name, run in RUNS.items()}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", RUNS)
def test_page_fits_its_window_and_stays_at_home(browser, reports, name, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(reports[name].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    page.close()


def test_tab_shows_the_other_evaluation(browser, reports):
    page = browser.new_page()
    page.goto(reports["findings"].as_uri())
    shown = [page.is_visible(f"#panel{i}") for i in range(2)]
    page.click("label[for=tab1]")
    assert shown == [True, False]
    assert [page.is_visible(f"#panel{i}") for i in range(2)] == [False, True]
    page.close()


def test_pressing_a_picture_enlarges_it(browser, reports):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(reports["long"].as_uri())
    picture = page.locator(".example img").first
    before = picture.bounding_box()["width"]
    picture.click()
    assert picture.bounding_box()["width"] > 2 * before
    page.close()
