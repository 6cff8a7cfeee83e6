"""Which store a path or a URL means."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlseg_core.store.base import Store
from mlseg_core.store.folder import Folder


def open_store(where: Path | str | Store, scratch: Path | None = None) -> Store:
    """A folder (Path, plain text or file:// URL), or an fsspec URL. scratch: for the temporaries of a URL. Raises UserError."""
    if isinstance(where, Store):
        return where
    if isinstance(where, Path) or "://" not in where:
        return Folder(Path(where))
    if where.startswith("file://"):
        return Folder(Path(unquote(urlsplit(where).path)))
    from mlseg_core.store.bucket import Bucket

    return Bucket(where, scratch)
