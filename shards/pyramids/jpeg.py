"""Whether the JPEG segments of a TIFF are whole: imagecodecs fills what is missing with grey and says nothing."""

import simplejpeg

_START, _END = b"\xff\xd8", b"\xff\xd9"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, coded by Huffman
_MARKERS_OF_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_jpeg(data: bytes, tables: bytes | None) -> None:
    """Raises ValueError, with libjpeg's words, for a JPEG at which libjpeg warns; OpenSlide refuses those too.

    tables: the JPEGTables of the TIFF. Reads all of the entropy-coded data, but makes an image of an eighth of the size
    only. Lossless, arithmetic-coded and 12-bit JPEGs, which another decoder reads, are not checked.
    """
    if not data.startswith(_START) or not _is_8_bit_huffman(data):
        return
    if tables and tables.startswith(_START):
        end = tables.rfind(_END)
        data = _START + tables[2 : end if end > 0 else None] + data[2:]
    colours = simplejpeg.decode_jpeg_header(data)[2]
    wanted = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colours, "RGB")
    simplejpeg.decode_jpeg(data, wanted, fastdct=True, fastupsample=True, min_height=1, min_width=1, strict=True)


def _is_8_bit_huffman(data: bytes) -> bool:
    """By the header of the frame."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _MARKERS_OF_FRAMES:
            return marker in _FRAMES and data[at + 4] == 8
        if marker == 0xFF:  # fill bytes
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True
