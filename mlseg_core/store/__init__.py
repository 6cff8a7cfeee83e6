"""Where outputs go: a folder, or an fsspec URL such as s3://bucket/corpus."""

from mlseg_core.store.base import DestinationError, Store, check_name
from mlseg_core.store.folder import Folder
from mlseg_core.store.opening import open_store

__all__ = ["DestinationError", "Folder", "Store", "check_name", "open_store"]
