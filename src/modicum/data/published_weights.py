"""Weights of the field's encoders on the model hub, by short names: ``--weights rad-dino``.

One table. Each row says where the weights lie, under which licence, for which network, and how images were normalised in
their training. Only files in the safetensors format, which cannot hold code; where the authors publish none, the row
is a copy in that format by others, and says so. ``checked`` says what each row rests on; what nobody here has seen is
under ``unverified``. No file was downloaded to make this table.
"""

from dataclasses import dataclass

from modicum.errors import InputError, did_you_mean

HF = "hf:"
"""What weights on the model hub begin with: ``hf:OWNER/NAME``, then ``@REVISION`` and ``:FILE`` if wanted."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_DINOV3 = {
    "licence": "DINOv3 licence",
    "saw": "photographs from the web (LVD-1689M)",
    "image_size": 256,
    "normalisation": IMAGENET,
    "checked": "timm's own table of weights; the repositories' pages list the file and the licence",
}


@dataclass(frozen=True)
class PublishedWeights:
    """One row.

    Attributes:
        name: the short name.
        repository: OWNER/NAME on the hub.
        file: in the repository.
        architecture: timm's name of the network.
        image_size: side in pixels of the images it was trained with.
        normalisation: mean and standard deviation of each channel of images in ``[0, 1]``.
        licence: of the weights.
        saw: what images it was trained with.
        checked: what the row rests on.
        revision: a commit or branch; the repository's main branch by default.
        gated: whether the authors' terms have to be accepted on the repository's page first.
        unverified: what could not be checked.
    """

    name: str
    repository: str
    file: str
    architecture: str
    image_size: int
    normalisation: tuple[tuple[float, float, float], tuple[float, float, float]]
    licence: str
    saw: str
    checked: str
    revision: str = "main"
    gated: bool = False
    unverified: str = ""

    @property
    def source(self) -> str:
        """As ``--weights`` takes it, in full."""
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{HF}{self.repository}{revision}:{self.file}"


PUBLISHED = (
    PublishedWeights(
        "retfound",
        "bitfount/RETFound_MAE",
        "model.safetensors",
        "vit_large_patch16_224",
        224,
        IMAGENET,
        "CC BY-NC 4.0",
        "1.6 million retinal images; these weights: colour fundus photographs",
        "the copy's page (licence, file, timm layout); normalisation: util/datasets.py of the authors' code",
        revision="refs/pr/2",
        unverified="that the copy equals the authors' RETFound_mae_natureCFP.pth, which is gated and not safetensors",
    ),
    PublishedWeights(
        "rad-dino",
        "microsoft/rad-dino",
        "backbone_compatible.safetensors",
        "vit_base_patch14_dinov2",
        518,
        ((0.5307, 0.5307, 0.5307), (0.2583, 0.2583, 0.2583)),
        "MIT",
        "chest radiographs",
        "the repository's page (licence, files, size); normalisation: several public programs that quote its settings",
    ),
    PublishedWeights(
        "biomedclip",
        "ikim-uk-essen/BiomedCLIP_ViT_patch16_224",
        "model.safetensors",
        "vit_base_patch16_224",
        224,
        CLIP,
        "MIT",
        "15 million figures of biomedical papers with their captions",
        "the copy's page (licence, file); network and normalisation: the authors' open_clip_config.json",
        revision="2ee82a62dc5484f48a813e3fb33f3fe4b47d5b7e",
        unverified="that the copy equals the image tower of the authors' open_clip_pytorch_model.bin",
    ),
    PublishedWeights(
        "medsiglip",
        "google/medsiglip-448",
        "model.safetensors",
        "vit_so400m_patch14_siglip_384",
        448,
        HALF,
        "Health AI Developer Foundations terms",
        "radiographs, skin, fundus, histology and slices of CT and MR, with their texts",
        "the repository's page (licence, gate, size)",
        gated=True,
        unverified="the file's name and the normalisation, which are SigLIP's usual ones",
    ),
    PublishedWeights(
        "dinov3-small",
        "timm/vit_small_patch16_dinov3.lvd1689m",
        "model.safetensors",
        "vit_small_patch16_dinov3",
        **_DINOV3,  # type: ignore[arg-type]
    ),
    PublishedWeights(
        "dinov3-base",
        "timm/vit_base_patch16_dinov3.lvd1689m",
        "model.safetensors",
        "vit_base_patch16_dinov3",
        **_DINOV3,  # type: ignore[arg-type]
    ),
    PublishedWeights(
        "dinov3-large",
        "timm/vit_large_patch16_dinov3.lvd1689m",
        "model.safetensors",
        "vit_large_patch16_dinov3",
        **_DINOV3,  # type: ignore[arg-type]
    ),
)


@dataclass(frozen=True)
class HubFile:
    """A file on the model hub, or all files of a repository.

    Attributes:
        repository: OWNER/NAME.
        revision: a branch, tag or commit.
        file: None where it is not named.
    """

    repository: str
    revision: str = "main"
    file: str | None = None


def is_on_hub(weights: str) -> bool:
    """Whether weights are named by their place on the hub or by a short name (``hub`` is timm's own choice)."""
    return weights.startswith(HF) or published(weights) is not None


def published(weights: str) -> PublishedWeights | None:
    """The row of the table that weights mean: by its short name, its repository alone, or its full place; else None."""
    for row in PUBLISHED:
        if weights in {row.name, f"{HF}{row.repository}", row.source}:
            return row
    return None


def hub_file(weights: str) -> HubFile:
    """Parses ``hf:OWNER/NAME@REVISION:FILE``, or looks a short name up.

    Raises:
        InputError: it is neither.
    """
    row = published(weights)
    if row is not None:
        return HubFile(row.repository, row.revision, row.file)
    place, _, file = weights.removeprefix(HF).partition(":")
    repository, _, revision = place.partition("@")
    owner, _, name = repository.partition("/")
    if not weights.startswith(HF) or not owner or not name or "/" in name or ".." in place + file:
        raise InputError(
            f"weights '{weights}' do not name a repository of the model hub",
            f"write hf:OWNER/NAME, for instance {PUBLISHED[1].source}, or a short name ("
            f"{', '.join(row.name for row in PUBLISHED)})",
        )
    if file and not file.endswith(".safetensors"):
        raise InputError(
            f"weights '{weights}': '{file}' is not a .safetensors file, and no other is taken from the hub",
            "name one that is, or download the file yourself and pass --weights FILE",
        )
    return HubFile(repository, revision or "main", file or None)


def similar_short_name(word: str) -> str:
    """A hint for a word that is no file and no short name."""
    return did_you_mean(word, [row.name for row in PUBLISHED])
