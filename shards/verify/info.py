"""A sample's JSON against its key, its slide's row and the manifest. In: the JSON. Out: what is wrong, in words."""

import re
from collections.abc import Iterator
from typing import Any

from shards.manifest import Manifest, SlideEntry

_ROW = ("slug", "slide", "patient", "stain", "scanner", "source", "split", "score")
_PLACE = re.compile(r"\+y(\d{7,8})\+x(\d{7,8})$")


def info_faults(
    info: dict[str, Any], key: str, manifest: Manifest, row: SlideEntry | None, shard: str
) -> Iterator[str]:
    """row: of the slide that the shard belongs to, None for a sidecar or when the manifest lacks it.  shard: its name."""
    if info.get("version") != 1:
        yield f"is of version {info.get('version')!r}, not 1"
    expected: dict[str, Any] = {"of": key}
    if manifest.kind == "styled":
        expected["target"] = manifest.facts["targets"].get(shard)
    if manifest.kind == "corpus":
        expected = {name: manifest.views[name] for name in ("high_mpp", "low_mpp")}
        expected |= {name: getattr(row, name) for name in _ROW} if row is not None else {}
        yield from _place_faults(info, key)
        if info.get("seed_class", "") not in (None, *manifest.classes):
            yield f"says seed_class {info.get('seed_class')!r}, which is no class"
    for name, value in expected.items():
        if name not in info or info[name] != value:
            yield f"says {name} {info.get(name)!r}, it should be {value!r}"


def _place_faults(info: dict[str, Any], key: str) -> Iterator[str]:
    center, at = _two_numbers(info.get("center")), _PLACE.search(key)
    # The key rounds the centre itself, the JSON holds it rounded to 0.001 px.
    if at is None or center is None or not (abs(center[0] - int(at[2])) <= 0.501 >= abs(center[1] - int(at[1]))):
        yield f"says center {info.get('center')!r}, not the key's"
    mpp0 = _two_numbers(info.get("mpp0"))
    if mpp0 is None or not all(0 < value < 100 for value in mpp0):
        yield f"says mpp0 {info.get('mpp0')!r}, not two resolutions in µm/px"


def _two_numbers(value: Any) -> tuple[float, float] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, int | float) for part in value):
        return value[0], value[1]
    return None
