"""The page to drop images on, in a real browser: at the width of a desk and of a phone, with good and broken files."""

import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from served import Served
from served_files import dicom, picture

CHROMIUM = shutil.which("chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += ["--disable-background-networking", "--disable-component-update"]
SHOTS = os.environ.get("MODICUM_SCREENSHOTS")
"""Folder for pictures of the page, to look at."""


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
def address(runs, tmp_path_factory):
    """A server on a port of its own."""
    served = Served(
        [runs[name] for name in ("findings", "masks", "classes", "eyes")], tmp_path_factory.mktemp("p") / "p"
    )
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(served.gate, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def opened(browser, address):
    """A page of a width, that may ask nobody but its server and complains of nothing."""
    pages = []

    def open_page(width: int, path: str = "/"):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(120_000)
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{address}{path}")
        pages.append((page, asked, complaints))
        return page

    yield open_page
    for page, asked, complaints in pages:
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        assert [text for text in complaints if "422" not in text] == []
        page.close()


def shot(page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def until(met) -> None:
    """Waits until something is so. (Playwright's own way evaluates texts, which the page's policy forbids.)"""
    ends = time.monotonic() + 120
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.02)


def files(*named: tuple[str, bytes]):
    return [
        {"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in named
    ]


@pytest.mark.parametrize("width", [1280, 390])
def test_findings_come_with_bars_thresholds_and_what_is_broken(opened, width):
    page = opened(width)
    page.wait_for_selector("#ask:not([hidden])")
    assert "Not a medical device" in page.inner_text("header")
    assert "classification" in page.inner_text("#about")
    page.check("#maps")
    page.set_input_files(
        "#files",
        files(("scan one.png", picture("PNG")), ("slice.dcm", dicom()), ("<b>bad</b>.png", b"no image")),
    )
    page.wait_for_selector("#progress", state="hidden")
    until(lambda: page.locator(".card progress").count() == 0)
    assert page.inner_text("#status") == "3 of 3 images, 1 not answered"
    assert page.locator(".card").count() == 3
    broken = page.locator(".card.broken")
    assert broken.locator("h2").inner_text() == "<b>bad</b>.png"  # text, not HTML
    assert "send PNG" in broken.inner_text()
    good = page.locator(".card:not(.broken)").first
    assert good.locator(".bar").count() == 2
    assert good.locator(".bar b").count() == 2  # a threshold each
    assert {"oedema", "7"} <= set(good.locator(".bars > span").all_inner_texts())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    slider = good.locator("input[type=range]")
    slider.fill("10")
    assert good.locator("canvas").evaluate("canvas => canvas.style.opacity") == "0.1"
    shot(page, f"findings-{width}")


@pytest.mark.parametrize("width", [1280, 390])
def test_masks_lie_over_the_image(opened, width):
    page = opened(width)
    page.wait_for_selector("#ask:not([hidden])")
    page.select_option("#run", "masks")
    page.check("#maps")
    page.set_input_files("#files", files(("eye.png", picture("PNG"))))
    page.wait_for_selector(".card canvas")
    until(lambda: page.locator(".card canvas").evaluate("canvas => canvas.width") == 48)
    options = page.locator(".card select option").all_inner_texts()
    assert options == ["prediction", "vessel"]
    page.select_option(".card select", "1")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    shot(page, f"masks-{width}")


def test_keys_alone_are_enough(opened):
    page = opened(1280)
    page.wait_for_selector("#ask:not([hidden])")
    focused = []
    for _ in range(3):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.id"))
    assert focused == ["run", "files", "maps"]
    page.keyboard.press("Shift+Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(files(("a.png", picture("PNG"))))
    page.wait_for_selector(".card .bar")
    page.focus("#clear")
    page.keyboard.press("Enter")
    assert page.locator(".card").count() == 0


def test_a_run_that_decides_together_gets_its_files_together(opened):
    page = opened(1280)
    page.wait_for_selector("#ask:not([hidden])")
    page.select_option("#run", "eyes")
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.set_input_files("#files", files(("l.png", picture("PNG")), ("r.png", picture("PNG", seed=2))))
    until(lambda: page.locator(".card .says").count() == 2)
    assert len([url for url in requests if "predict" in url]) == 1
    # a column that the page has never heard of
    assert "fellow missing" in page.locator(".card").first.inner_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_description_of_the_api_works_without_any_other_server(opened, width):
    page = opened(width, "/docs")
    page.wait_for_selector("h2:has-text('POST /runs/{name}/predict')")
    assert "multipart/form-data" in page.inner_text("main")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    shot(page, f"api-{width}")
