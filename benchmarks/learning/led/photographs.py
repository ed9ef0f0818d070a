"""Photographs of the benchmark of enhancement, squared and shrunk: clean ones, known pairs, and really poor ones."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from modicum.engine.inputs.degraded_pairs import write_degraded_pairs

TRAINING_KINDS, TEST_KINDS = ("001", "100", "101"), ("011", "111")
"""Blur, spots, light. Spots are never seen in training; alone they would leave a photograph that is not poor."""
GOOD, POOR = 100, 40
"""Photographs of ``fundus_dr_grading`` by contrast: the best training images, and the worst outside the test images."""
_MEASURED_SIDE = 192


def contrast(image: Image.Image) -> float:
    """Measures without reference: the deviation of green between blurs of 1 and 5 pixels, in the field, at 192 pixels.

    It is what vessels and lesions stand out by; uneven light and noise of single pixels count little.
    """
    pixels = np.asarray(image.resize((_MEASURED_SIDE,) * 2, Image.Resampling.BOX), dtype=np.float64) / 255
    field = ndimage.binary_erosion(pixels.mean(2) > 0.06, iterations=6)
    band = ndimage.gaussian_filter(pixels[..., 1], 1) - ndimage.gaussian_filter(pixels[..., 1], 5)
    return float(band[field].std())


def photographs(data: Path, side: int, folder: Path) -> Path:
    """Writes the photographs and ``clean.csv``: image, mask (vessels), label (grades), set, split, patient, contrast.

    Splits: ``train`` and ``test`` of enhancement; ``grader`` are further training images of the judge of grades, and
    ``poor`` those that are to be enhanced without a target.
    """
    rows = [*_vessels(data / "vessels", side, folder), *_sharp(data / "fundus_hrf", side, folder)]
    rows += _graded(data / "fundus_dr_grading", side, folder)
    pd.DataFrame(rows).to_csv(folder / "clean.csv", index=False)
    return folder / "clean.csv"


def pairs(clean: Path, work: Path, side: int) -> tuple[Path, Path]:
    """Known pairs to learn from and to test on, of other photographs and by other kinds of degradation.

    Blur is that of photographs of twice the side: at 64 pixels that of 512 would be none.
    """
    table = pd.read_csv(clean)
    found = []
    for split, kinds, each in (("train", TRAINING_KINDS, 1), ("test", TEST_KINDS, 2)):
        file = clean.parent / f"{split}.csv"
        table[table["split"] == split].to_csv(file, index=False)
        found.append(
            write_degraded_pairs(file, work / split, kinds=kinds, reference=2 * side, per_image=each)
        )
    return found[0], found[1]


def _vessels(data: Path, side: int, folder: Path) -> list[dict[str, object]]:
    """Every third eye or child is a test."""
    table = pd.read_csv(data / "manifest.csv")
    groups = list(dict.fromkeys(table["group"]))
    rows: list[dict[str, object]] = []
    for number, row in enumerate(table.to_dict("records")):
        image, mask, patient = f"vessels{number:03d}.png", f"vessels{number:03d}_mask.png", str(row["group"])
        pixels = Image.open(data / str(row["image"])).convert("RGB")
        _save(folder / image, _square(np.asarray(pixels)), side)
        drawn = np.asarray(Image.open(data / str(row["mask"])).convert("L")) > 127
        _save(folder / mask, _square(255 * drawn.astype(np.uint8)), side, 64)
        split = "train" if groups.index(patient) % 3 else "test"
        rows.append({"image": image, "mask": mask, "set": "vessels", "split": split, "patient": patient})
    return rows


def _sharp(data: Path, side: int, folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for file in sorted((data / "images").glob("*.jpg")):
        image = f"hrf{file.stem}.png"
        _save(folder / image, _square(np.asarray(Image.open(file).convert("RGB"))), side)
        rows.append({"image": image, "set": "hrf", "split": "train", "patient": f"hrf{file.stem}"})
    return rows


def _graded(data: Path, side: int, folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    table = pd.read_csv(data / "labels.csv")
    for row in table.to_dict("records"):
        picture = Image.open(data / "images" / str(row["image"])).convert("RGB")
        image = f"graded_{Path(str(row['image'])).stem}.png"
        _save(folder / image, _square(np.asarray(picture)), side)
        rows.append(
            {
                "image": image,
                "label": row["dr_grade"],
                "set": "graded",
                "split": "test" if row["split"] == "test" else "grader",
                "patient": row["patient"],
                "given_split": row["split"],
                "contrast": contrast(picture),
            }
        )
    ranked = sorted(
        (row for row in rows if row["split"] == "grader"), key=lambda row: float(str(row["contrast"]))
    )
    for row in ranked[:POOR]:
        row["split"] = "poor"
    for row in [row for row in ranked if row["given_split"] == "train"][-GOOD:]:
        row["split"] = "train"
    return rows


def _square(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = max(height, width)
    around = [((side - height) // 2, side - height - (side - height) // 2)]
    around += [((side - width) // 2, side - width - (side - width) // 2)]
    return np.pad(pixels, [*around, (0, 0)][: pixels.ndim])


def _save(file: Path, pixels: np.ndarray, side: int, threshold: int | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
    if threshold is not None:
        image = image.point(lambda level: 255 * (level > threshold))
    image.save(file)
