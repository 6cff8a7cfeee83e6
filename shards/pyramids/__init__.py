"""Whole-slide image files behind one small interface: levels of pixels, read by level pixel.

pyramid            the interface; the scanned part of level 0
opening            open_pyramid: which backend opens a file; plain tiles are decoded as tiff does, which is faster
openslide_pyramid  everything OpenSlide opens (SVS, NDPI, MRXS, SCN, BIF, Philips, DICOM, generic tiled TIFF)
tiff               OME-TIFF and plain TIFF that OpenSlide refuses or misreads, label masks too, through tifffile
series             which image of a TIFF is the slide, and where its pixels lie
ome                what OME-XML and tags say, µm/px above all
scales             how many level-0 px a pixel of each level spans
changes            which slides are read otherwise than they were
"""

from shards.pyramids.changes import read_differently
from shards.pyramids.opening import open_pyramid
from shards.pyramids.pyramid import LevelPixels, Pyramid, Unreadable
from shards.pyramids.scales import level_scales

__all__ = ["LevelPixels", "Pyramid", "Unreadable", "level_scales", "open_pyramid", "read_differently"]
