"""Annotations of slides: what people drew, in any of the field's formats -> labels rasterised on any view.

interface  what an annotation offers; read  opens one, told by its content
geojson, asap, aperio, mask  the formats; markup and elements  XML; drawing  what a vector file says
regions  classes mapped, holes cut (holes), rasterised (raster)
"""

from shards.annotation.interface import UNLABELLED, Annotation
from shards.annotation.read import classes_found, is_mask, read_annotation

__all__ = ["UNLABELLED", "Annotation", "classes_found", "is_mask", "read_annotation"]
