"""evaluation.json as a whole: its keys, the same bytes in any order, and what it says where there is little to say."""

import json

from mlseg_dist.evaluation import summary
from tests.mlseg_dist.evaluation.made_counts import made_config, made_corpus, made_counts, made_evaluation

KEYS = [
    *("version", "classes", "corpus_sha256", "unit", "grid", "teachers", "steps", "majority", "boundary_um", "splits"),
    *("figures", "fine", "bad_regions", "calibration", "curves", "slides", "patients", "domains", "confounded"),
    *("differences", "against", "cross_fit", "not_scored", "pictures"),
]


def text(found: dict) -> str:
    return json.dumps(found, allow_nan=False)


def test_the_same_bytes_whatever_the_order_in_which_slides_and_counts_come():
    corpus, config = made_corpus({"val": 3, "test": 6}), made_config()
    counts, slides = made_counts(corpus, config), summary.slide_facts(corpus, config.evaluate.splits)
    found = made_evaluation({"val": 3, "test": 6}, counts=counts, slides=slides)
    assert list(found) == KEYS
    other = made_evaluation(
        {"val": 3, "test": 6},
        counts=dict(reversed(counts.items())),
        slides=dict(reversed(slides.items())),
    )
    assert text(other) == text(found)
