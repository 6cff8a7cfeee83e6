"""Annotations of slides: what people drew, in any of the field's formats -> labels rasterised on any view.

interface  what an annotation offers; read  opens one, told by its content
geojson, asap, aperio, mask  the formats; markup  XML; drawing  what a vector file says
origin  where coordinates begin; fitting  which image a mask covers; planes  z-stacks; extent  what lies off the slide
regions  classes mapped, holes cut; raster  polygons to pixels
"""

from shards.annotation.interface import EXCLUDED_PX, UNLABELLED, Annotation
from shards.annotation.origin import Frame
from shards.annotation.read import AnnotationFile, is_mask, read_annotation

__all__ = ["EXCLUDED_PX", "UNLABELLED", "Annotation", "AnnotationFile", "Frame", "is_mask", "read_annotation"]
