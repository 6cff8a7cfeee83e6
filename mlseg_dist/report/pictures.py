"""Where the page's photographs go: files beside the page, or into it. Drawings (SVG) are small and always lie within it.

A file's name ends with the first twelve digits of its content's sha256. That shows which files are ours: a picture that somebody
put there or changed has another hash than its name, and stays.
"""

import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mlseg_core.errors import UserError
from mlseg_core.files import write_atomic
from mlseg_core.html import Html, data_uri, image
from mlseg_core.own import is_named_by_content, is_regular, refuse_foreign
from mlseg_dist.report.elements import made

FOLDER = "pictures"
JPEG_QUALITY = 88


class Pictures:
    """Collects what the page shows, each a link to its file. inside: pictures become part of the page, which then needs no file."""

    def __init__(self, *, inside: bool) -> None:
        self.inside = inside
        self.files: dict[str, bytes] = {}
        """Name within the folder -> JPEG."""

    def show(self, path: Path, name: str, alt: str) -> Html | None:
        """A picture of the run, as JPEG without its metadata; None where the file is missing or is no picture.

        name: of the file beside the page: lower-case letters, digits and `-`, and no name of a slide.
        """
        found = _as_jpeg(path)
        return None if found is None else self._shown(*found, name, alt)

    def add(self, data: bytes, name: str, alt: str) -> Html:
        """As show, of a picture that was made for the page. Raises ValueError for what is no picture."""
        found = _as_jpeg(io.BytesIO(data))
        if found is None:
            raise ValueError(f"{name} is no picture")
        return self._shown(*found, name, alt)

    def _shown(self, data: bytes, size: tuple[int, int], name: str, alt: str) -> Html:
        if self.inside:
            return image(data_uri(data, "jpeg"), alt, size)
        file = f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.jpg"
        self.files[file] = data
        place = f"{FOLDER}/{file}"
        return made.linked(place, image(place, alt, size))


def _as_jpeg(path: Path | io.BytesIO) -> tuple[bytes, tuple[int, int]] | None:
    data = io.BytesIO()
    try:
        with Image.open(path) as opened:
            opened.convert("RGB").save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            return data.getvalue(), opened.size
    except (OSError, Image.DecompressionBombError):
        return None


def refuse_foreign_pictures(folder: Path, names: Iterable[str]) -> None:
    """Raises UserError where the path is not a folder, or somebody else's file has the name of one of ours."""
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise UserError("is not a folder that mlseg made here", folder, "Move it away: the page's pictures go there.")
    refuse_foreign([folder / name for name in names], is_named_by_content)


def write_pictures(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files that are not there yet. A name says what is in the file, so that a page that is open stays whole."""
    for name, data in files.items():
        if not (folder / name).exists():
            write_atomic(folder / name, data)


def remove_old_pictures(folder: Path, keep: Iterable[str]) -> None:
    """Delete our own pictures that the page no longer shows; somebody else's files stay."""
    kept = set(keep)
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name not in kept and is_regular(path) and is_named_by_content(path):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
