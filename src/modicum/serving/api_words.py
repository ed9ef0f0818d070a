"""Words and models of the API's description (OpenAPI)."""

from typing import Any

from pydantic import BaseModel, Field

DESCRIPTION = (
    "Predictions of finished runs: the same numbers as `modicum predict` writes. Nothing that is sent is kept. "
    "Not a medical device."
)


class RunLimits(BaseModel):
    """What one request may be."""

    max_upload: int = Field(description="Bytes of one request, all files together.")
    max_pixels: int = Field(description="Pixels that one file declares, in all slices.")
    max_files: int = Field(description="Files in one request.")
    timeout: float = Field(description="Seconds for one request.")


class RunFacts(BaseModel):
    """A run."""

    name: str
    task: str
    kind: str
    classes: list[str]
    method: str
    backbone: str | None
    takes: list[str] = Field(description="Formats of files.")
    image_size: list[int] = Field(description="Height and width that images are resized to.")
    answer: str = Field(description="rows, boxes (a row each), or pictures with rows beside them.")
    maps: str | None = Field(description="What maps=true adds; null where there is nothing.")
    decided_over: str = Field(
        description="image, or request: then the answer to an image depends on the others of its request."
    )
    caution: str | None
    thresholds: dict[str, list[float]] = Field(
        description="By column: from which values on something is said."
    )
    limits: RunLimits


class AnswerPicture(BaseModel):
    """A picture."""

    name: str = Field(description="prediction, preview, or what a map shows.")
    kind: str = Field(description="image, mask (its values are codes), map (the more the brighter) or file.")
    media_type: str
    file_name: str | None
    base64: str


class AnswerOfImage(BaseModel):
    """The answer to one file."""

    image: str = Field(description="The file's name.")
    rows: list[dict[str, str | float | bool | None]] = Field(
        description="As in predictions.csv: one row, or one a box or a slice."
    )
    pictures: list[AnswerPicture]
    notes: list[str]
    error: str | None = Field(description="Why there is no answer, in one line.")


class Prediction(BaseModel):
    """The answer to a request."""

    run: str
    task: str
    images: list[AnswerOfImage] = Field(description="In the order in which the files came.")


class Problem(BaseModel):
    """An error."""

    error: str = Field(description="What is wrong, and what to do, in one line.")


_WORDS = {
    401: "A token is needed.",
    404: "There is no such run.",
    406: "The answer does not have the form that was asked for.",
    413: "Too large, or too many files.",
    415: "Not multipart/form-data.",
    422: "None of the files can be read; the line names the file and what to do.",
    503: "Too many requests are waiting; see Retry-After.",
    504: "No answer in time.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words} for status, words in _WORDS.items()
}
PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "PNG, JPEG, TIFF, DICOM or NIfTI; several files, several parts.",
                        }
                    },
                }
            }
        },
    }
}
