"""Which files in the folders of a run are ours, by records and by the exact names that phases give their files.

In: a phase's folder or an output folder (data/shards, report, …). Out: the files that may be deleted with it. A person's notes,
pictures or links that lie there too are not among them.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from mlseg_core.csv_text import read_table
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import Done, own_failures, read_all_done, read_superseded
from mlseg_core.own import is_named_by_content, is_page, is_regular, is_temporary, starts_with, walk_files
from mlseg_core.store import Folder
from mlseg_dist.privacy.pseudonyms import KEY_FILE
from mlseg_dist.run_folder import is_cleaned
from mlseg_dist.tracking.own import LINKS, is_of_wandb
from shards.cutting.evidence import has_index, is_ours
from shards.cutting.publish import QUARANTINE, QUARANTINE_HEAD
from shards.manifest import is_manifest

_MAPS = re.compile(r"slides|shards|styled|labels-\d+|evaluation")
_PHASE = re.compile(
    r"(?:state|done|teacher|evaluation|features)\.json|(?:metrics|events)\.jsonl|teacher\.pt"
    r"|tasks/[a-z]+-\d+\.json|progress/\d+\.json|stacks/rank-\d+\.txt|pictures/[a-z-]+-\d+\.png|profile/rank-\d+\.json\.gz"
    r"|logs/(?:\d+(?:_\d+){0,2}_(?:log\.out|log\.err|submission\.sh|submitted\.pkl|result\.pkl)|rendezvous-[^/]+\.json)"
    r"|media/step-\d+/(?:examples\.json|\d+-(?:view|truth|prediction)\.png)"
    r"|wandb/(?:run|(?:sender|sent)-(?:offline|online))\.json"
)
_GENERATORS = re.compile(r"generators\.json|[^/]+/(?:generator\.(?:pt|json)|sheet\.jpg|(?:metrics|events)\.jsonl)")
_CHECKPOINT = re.compile(
    r"(?P<folder>(?:[^/]+/)?checkpoints/(?:step-\d{8,}|\.tmp-[0-9a-f]{8}-\d+-\d+-[0-9a-f]{8}-step-\d{8,}))/(?P<name>[^/]+)"
)
_LATEST = re.compile(r"(?:[^/]+/)?checkpoints/LATEST")
_STATE = re.compile(r"(?:META|cursor)\.json|[a-z][a-z0-9_]*\.pt")
_WANDB_RUN = re.compile(r"wandb/(?:offline-)?run-\d{8}_\d{6}-[^/]+/(?P<name>.*)")
_WANDB_LINKS = ("latest-run", "debug.log", "debug-internal.log")
_CODE = re.compile(
    r"frozen\.json|(?:launch|mlseg_core|mlseg_dist|shards)/(?:[a-z0-9_]+/)*(?:__pycache__/)?[A-Za-z0-9_.-]+\.(?:pyc?|html|css)"
)
_FOLDERS = re.compile(
    r"(?:tasks|logs|progress|stacks|pictures|profile|wandb|done|failed|superseded|overview)/"
    r"|media/(?:step-\d+/)?|(?:[^/]+/)?checkpoints/(?:step-\d{8,}/)?"
)
_REPORT = ("index.html", "report.html", "metrics.json", "checks.json")
_REPORT_TABLE = b"slide,patient,split,stain,scanner,source,unseen,"
_PROGRESS = re.compile(r"progress/(?:\d+\.json|done-[0-9a-f]{12})")


def own_files(folder: Path, name: str) -> dict[str, int]:
    """Name within `folder` -> bytes, of our regular files. {} for a symbolic link: what is behind it is not the run's.

    name: of the folder in the run: `shards`, `labels-2`, `05-label-2`, `report`, `code`.
    """
    if folder.is_symlink() or not folder.is_dir():
        return {}
    is_own = _rule(folder, name)
    own = [found for found in walk_files(folder) if is_regular(folder / found)]
    return {found: (folder / found).stat().st_size for found in own if is_own(found)}


def own_empty_folders(folder: Path) -> list[str]:
    """Names, with `/` at the end, of empty folders that phases make."""
    if folder.is_symlink():
        return []
    found = [name for name in walk_files(folder) if name.endswith("/")]
    return [name for name in found if _FOLDERS.fullmatch(name) or _is_of_tracking(name)]


def own_links(folder: Path) -> dict[str, str]:
    """Symbolic links that W&B makes within a phase's folder -> where they lead. Deleting a link does not touch its target."""
    if folder.is_symlink() or (folder / "wandb").is_symlink():
        return {}
    names = [name for name in walk_files(folder / "wandb") if (folder / "wandb" / name).is_symlink()]
    return {
        f"wandb/{name}": os.readlink(folder / "wandb" / name)  # noqa: PTH115
        for name in names
        if name in _WANDB_LINKS or ((match := _WANDB_RUN.fullmatch(f"wandb/{name}")) and match["name"] in LINKS)
    }


def _rule(folder: Path, name: str) -> Callable[[str], bool]:
    if _MAPS.fullmatch(name):
        return _of_map(folder)
    if name == "generators":
        return lambda found: _is_of(found, _GENERATORS) or _is_of_checkpoint(folder, found)
    if name == "code":
        return lambda found: _CODE.fullmatch(found) is not None
    if name == "private":
        return lambda found: KEY_FILE.fullmatch(found) is not None or is_temporary(found)
    if name == "report":
        return lambda found: found in _REPORT or _is_of_pictures(folder, found) or _is_of_report_table(folder, found)
    return lambda found: _is_of(found, _PHASE) or _is_of_checkpoint(folder, found) or _is_of_tracking(found)


def _is_of_pictures(folder: Path, name: str) -> bool:
    """A picture of the report as it was written, or what a killed process left."""
    place, _, last = name.rpartition("/")
    return place in ("", "pictures") and (is_temporary(last) or (place != "" and is_named_by_content(folder / name)))


def _is_of_report_table(folder: Path, name: str) -> bool:
    return name == "slides.csv" and starts_with(folder / name, _REPORT_TABLE)


def _is_of(name: str, form: re.Pattern[str]) -> bool:
    place, _, last = name.rpartition("/")
    return form.fullmatch(name) is not None or (is_temporary(last) and place in _places(form))


def _places(form: re.Pattern[str]) -> tuple[str, ...]:
    """Folders in which a killed process may have left a temporary."""
    return ("", "tasks", "progress", "stacks", "pictures", "profile", "wandb", "logs") if form is _PHASE else ("",)


def _is_of_checkpoint(folder: Path, name: str) -> bool:
    if _LATEST.fullmatch(name):
        return True
    place, _, last = name.rpartition("/")
    if place.rpartition("/")[2] == "checkpoints" and is_temporary(last):
        return True
    match = _CHECKPOINT.fullmatch(name)
    if match is None or not _STATE.fullmatch(match["name"]):
        return False
    try:
        named = json.loads((folder / match["folder"] / "META.json").read_bytes())["files"]
        return match["name"] == "META.json" or match["name"] in named
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _is_of_tracking(name: str) -> bool:
    match = _WANDB_RUN.fullmatch(name)
    return match is not None and is_of_wandb(match["name"])


def _of_map(folder: Path) -> Callable[[str], bool]:
    """Outputs of a map: what its records name with the same size, the records, the few files with plain names."""
    store = Folder(folder)
    done, earlier = read_all_done(store), read_superseded(store)
    own = {f"done/{unit}.json" for unit in done} | set(earlier) | set(own_failures(store))
    for files in (*(record.files for record in done.values()), *earlier.values()):
        own |= {name for name, fact in files.items() if store.size(name) == fact["bytes"]}
        own |= {f"{name.removesuffix('.tar')}.idx" for name in files if name.endswith(".tar")}
    own |= {name for name in _PLAIN if is_regular(folder / name) and _PLAIN[name](folder / name)}
    own |= _tables(folder, done)

    def is_own(name: str) -> bool:
        place, _, last = name.rpartition("/")
        if name in own or _PROGRESS.fullmatch(name):
            return True
        if is_temporary(last):
            return place in ("", "overview", "done", "failed", "progress", "superseded")
        size = (folder / name).stat().st_size
        return is_ours(store, name, size) or (place == "" and name.endswith(".tar") and has_index(store, name, size))

    return is_own


def _tables(folder: Path, done: dict[str, Done]) -> set[str]:
    """slides.csv, where it is the table of slides that the records say we made."""
    made = {name for record in done.values() for name in record.files}
    path = folder / "slides.csv"
    if not made or not is_regular(path):
        return set()
    try:
        rows = read_table(path).rows
    except UserError:
        return set()
    return {"slides.csv"} if all(next(iter(row.values())) in made for row in rows) else set()


_PLAIN: dict[str, Callable[[Path], bool]] = {
    "manifest.json": lambda path: any(is_manifest(path.read_bytes(), kind) for kind in ("corpus", "labels", "styled")),
    QUARANTINE: lambda path: starts_with(path, ",".join(QUARANTINE_HEAD).encode()),
    "index.html": lambda path: is_page(path, "shards"),
    "cleaned.json": lambda path: is_cleaned(path.parent),
    "reliability.json": lambda path: starts_with(path, b'{\n "key":'),
    "domains.pt": lambda path: starts_with(path, b"PK\x03\x04"),
    "contact-sheet.jpg": lambda path: starts_with(path, b"\xff\xd8\xff"),
}
