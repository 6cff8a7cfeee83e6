"""Whole-slide image files behind one small interface: levels of pixels, read by level pixel.

pyramid            the interface
opening            open_pyramid: which backend opens a file
openslide_pyramid  everything OpenSlide opens (SVS, NDPI, MRXS, SCN, BIF, Philips, DICOM, generic tiled TIFF)
tiff               OME-TIFF and plain TIFF that OpenSlide refuses, label masks too, through tifffile
tiles              SVS and generic TIFF: what OpenSlide says of them, decoded as tiff does, which is faster
bounds             the scanned part of level 0, as a file names it
scales             how many level-0 px a pixel of each level spans
"""

from shards.pyramids.opening import open_pyramid
from shards.pyramids.pyramid import Part, Pyramid, Unreadable
from shards.pyramids.scales import level_scales

__all__ = ["Part", "Pyramid", "Unreadable", "level_scales", "open_pyramid"]
