"""The results that the paper shows, each under an id of its own on the page, so that links and programs find it.

`index.html#figure-roc-tumour` leads to the figure. In: an id without its prefix. Out: HTML with it.
"""

from mlseg_core.html import Html
from mlseg_dist.config import FACTORS
from mlseg_dist.report.elements import made
from mlseg_dist.report.words import LEARNT

PREFIX = "figure-"
OF_CLASS = {
    "precision-recall": "precision and recall, over all thresholds",
    "roc": "ROC with AUC",
    "thresholds": "IoU, sensitivity and specificity over thresholds",
}
FIGURES = {
    "accuracy": "curves of categorical accuracy, train and validation, base and masters",
    "miou": "curves of mean IoU",
    "wce": "curves of weighted cross entropy",
    "wdl": "curves of weighted Dice loss",
    **{f"{key}-{name}": f"{name} against the rest: {what}" for name in LEARNT for key, what in OF_CLASS.items()},
    **{f"iou-by-{factor}": f"IoU by {factor}, unseen ones marked" for factor in FACTORS},
    "heat-maps": "heat maps of tumour and others, red is confident",
    "class-mix": "class histogram of each split",
    "scores": "score histogram of each stain and scanner",
    **{f"features-{factor}": f"UMAP of deep features by {factor}" for factor in FACTORS},
    "hue-saturation": "hue-saturation spread before and after augmentation",
    "augmentations": "gallery of augmentations",
    "operating-points": "final thresholds, swept on validation only",
    "slides-by-group": "table 4: slides by stain, scanner and source",
    "pairs-by-class": "table 5: patches by class",
    "bad-regions": "recall of folds, bubbles, blur and artefacts",
    "ladder": "mean IoU of every step, with the control on human labels alone",
    "pooled": "pooled IoU with intervals",
    "per-slide": "IoU as means over slides",
    "differences": "paired differences: what the rounds gave",
}
"""Id without prefix -> what it shows. A figure whose data a run does not have is not on its page."""


def figure_id(name: str) -> str:
    """The whole id. Raises KeyError for one that is not listed above."""
    FIGURES[name]
    return PREFIX + name


def target(name: str) -> Html:
    """A place that a link may lead to, before what has no id of its own."""
    return made.target(figure_id(name))
