"""`slide-identities.json` beside a manifest: the slides as planning met them, so that an unchanged slide is not read again.

In: a store of outputs. Out: slug -> Known. Written by whoever plans or verifies, in one piece; workers only read it. The
file is a memory, not a proof: without it every slide is read once more.
"""

import json
from collections.abc import Mapping

from mlseg_core.store import Store
from shards.cutting.identity import Known

KNOWN_SLIDES = "slide-identities.json"


def read_known(store: Store) -> dict[str, Known]:
    """{} where there is none, or one that is damaged."""
    try:
        raw = json.loads(store.read(KNOWN_SLIDES))
        return {slug: Known.from_json(entry) for slug, entry in raw["slides"].items()}
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def is_known_slides(data: bytes) -> bool:
    """Whether a file of this name is one of ours."""
    try:
        raw = json.loads(data)
    except ValueError:
        return False
    return isinstance(raw, dict) and raw.keys() == {"version", "slides"} and isinstance(raw["slides"], dict)


def write_known(store: Store, known: Mapping[str, Known]) -> None:
    """Replaces what was there, unless it says the same."""
    if known != read_known(store):
        slides = {slug: known[slug].as_json() for slug in sorted(known)}
        store.write(KNOWN_SLIDES, json.dumps({"version": 1, "slides": slides}, indent=1) + "\n")
