"""Takes docs/pictures/reports*.png from reports that are there, with Playwright and Debian's chromium.

    modicum fit shared/data/cxr_pneumoniamnist --leaks drop --method full --backbone test_resnet --weights random \
        --image-size 32 --epochs 6 --set lr=3e-3 --name pneumonia
    modicum report runs/pneumonia --prevalence 0.05 --for review
    modicum fit shared/data/fundus_dr_grading/labels.csv --label dr_grade --method full --backbone test_resnet \
        --weights random --image-size 64 --epochs 3 --name fundus
    modicum report runs/fundus --by eye --by class_id:3,5 --min-group 10
    python docs/make_reports_pictures.py runs/pneumonia runs/fundus
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
    "--disable-background-networking",
]
WIDTH, MARGIN, GROUND = 1000, 12, (243, 245, 248)


def block(page: Page, title: str) -> Image.Image:
    """The card under a heading, as it is seen."""
    card = page.locator(f"section.block:has(h3:text-is('{title}'))").locator("visible=true").first
    return Image.open(io.BytesIO(card.screenshot())).convert("RGB")


def save(images: list[Image.Image], name: str) -> None:
    """Images below each other, in few colours: a page has no more."""
    height = sum(image.height for image in images) + MARGIN * (len(images) - 1)
    sheet, y = Image.new("RGB", (max(image.width for image in images), height), GROUND), 0
    for image in images:
        sheet.paste(image, (0, y))
        y += image.height + MARGIN
    sheet.quantize(128).save(PICTURES / name, optimize=True)


def main(classified: Path, grouped: Path) -> None:
    """Opens the pages and takes the pictures."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto((classified / "report.html").resolve().as_uri())
        titles = ("Operating points", "Calibration in numbers", "Decision curve", "From files to results")
        save([block(page, title) for title in titles], "reports.png")
        page.goto((classified / "review.html").resolve().as_uri())
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        top = int(page.locator("h2:text-is('CLAIM 2024')").bounding_box()["y"])  # type: ignore[index]
        save([picture.crop((0, top - 20, WIDTH, top + 900))], "reports_review.png")
        page.goto((grouped / "report.html").resolve().as_uri())
        save([block(page, title) for title in ("By eye", "By class_id")], "reports_groups.png")
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
