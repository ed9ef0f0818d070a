"""The metrics of translated images in words and numbers, each with the function that measures a slice."""

from collections.abc import Callable

from modicum.tasks.image_to_image.metrics import (
    HIGHEST_PSNR,
    LARGEST_SHARPNESS_ERROR,
    Made,
    Real,
    nmae,
    psnr,
    psnr_foreground,
    psnr_release,
    sharpness_error,
    ssim_foreground,
    ssim_gaussian,
    ssim_release,
)
from modicum.tasks.metric import Metric


def _psnr(name: str, title: str, meaning: str, explanation: str = "", in_brief: bool = False) -> Metric:
    return Metric(
        name,
        title,
        meaning,
        explanation,
        range=(0.0, HIGHEST_PSNR),
        unit="dB",
        decimals=2,
        per_image=True,
        in_brief=in_brief,
    )


def _ssim(name: str, title: str, meaning: str, explanation: str = "") -> Metric:
    return Metric(name, title, meaning, explanation, range=(-1.0, 1.0), per_image=True)


MEASURES: dict[Metric, Callable[[Made, Real], float]] = {
    Metric(
        "nmae",
        "NMAE",
        "mean error of the foreground, as a share of the scale; published and recommended; lower is better",
        "How far a pixel of the foreground is off on average, as a share of the scale from black to white: 0 is perfect. "
        "Lower is better.",
        higher_is_better=False,
        per_image=True,
        in_brief=True,
    ): nmae,
    _psnr(
        "psnr_foreground",
        "PSNR of the foreground",
        "errors of the foreground; recommended; higher is better",
        "The scale against the error of the foreground, in decibels: 6 more is half the error.",
        in_brief=True,
    ): psnr_foreground,
    _psnr(
        "psnr_release",
        "PSNR as published",
        "mixes other pixels in by mistake; only to compare with the paper's values",
        in_brief=True,
    ): psnr_release,
    _psnr(
        "psnr",
        "PSNR of the whole image",
        "background included, as elsewhere; higher is better",
        "The scale against the error, in decibels: 6 more is half the error. Background counts, too.",
    ): psnr,
    _ssim(
        "ssim_release",
        "SSIM as published",
        "background included; only to compare with the paper's values",
    ): ssim_release,
    _ssim(
        "ssim_foreground",
        "SSIM of the foreground",
        "1 is identical; recommended",
        "How alike small windows of the foreground look: 1 is identical.",
    ): ssim_foreground,
    _ssim(
        "ssim_gaussian",
        "SSIM with a Gaussian window",
        "background included, as papers on enhancement have it",
    ): ssim_gaussian,
    Metric(
        "sharpness_error",
        "Sharpness, off by powers of 2",
        "of the foreground's Laplacian; 0 is as sharp as the target, 1 twice or half; lower is better",
        "How far the variance of the Laplacian is from the target's: 0 is as sharp, 1 is twice or half as sharp. Noise "
        "counts as sharpness.",
        higher_is_better=False,
        range=(0.0, LARGEST_SHARPNESS_ERROR),
        decimals=2,
        per_image=True,
    ): sharpness_error,
}
METRICS = tuple(MEASURES)
