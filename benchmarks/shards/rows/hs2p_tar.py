"""hs2p's tile dump (extract_tiles_to_tar): a tar of JPEGs a view, so that it runs twice on the same centres.

Its settings as it ships them: grouped reads of 8, 4, 2 tiles, Pillow's encoder, 4:2:0 (it cannot write 4:4:4). Its
backend is OpenSlide: `auto` takes libvips where that is there, whose TIFF reader refuses the SVS files here.
"""

from typing import Any

import numpy as np
from hs2p.tiling.result import TileGeometry, TilingResult
from hs2p.tiling.tar import extract_tiles_to_tar
from hs2p.wsi.reader import open_slide

from benchmarks.shards.rows.row import Row, run


def work(row: Row) -> dict[str, float]:
    backend, pairs = "openslide", 0
    for slide, centers in row.tiles():
        if not centers:
            continue
        for view, mpp in row.job["views"].items():
            result = _result(row.job, slide, np.array(centers), view, mpp, backend)
            folder = row.out / f"{view}-{row.worker}"
            extract_tiles_to_tar(result, folder, jpeg_quality=row.job["quality"], num_workers=1)
        pairs += len(centers)
    return {"pairs": pairs}


def _result(
    job: dict[str, Any], slide: dict[str, Any], centers: np.ndarray, view: str, mpp: float, backend: str
) -> Any:
    side, mpp0 = job["store_px"], slide["mpp"][0]
    with open_slide(slide["path"], backend=backend, spacing_override=mpp0) as opened:
        downsamples = [scale[0] for scale in opened.level_downsamples]
        size = list(opened.dimensions)
    level = max((i for i, scale in enumerate(downsamples) if scale <= mpp / mpp0 * 1.05), default=0)
    side_lv0 = round(side * mpp / mpp0)
    corners = np.round(centers - side_lv0 / 2).astype(np.int64)
    stride = round(job["settings"]["stride_um"] / mpp0)
    tiles = TileGeometry(
        x=corners[:, 0],
        y=corners[:, 1],
        tissue_fractions=np.ones(len(corners), np.float32),
        requested_tile_size_px=side,
        requested_spacing_um=mpp,
        read_level=level,
        read_tile_size_px=round(side_lv0 / downsamples[level]),
        read_spacing_um=mpp0 * downsamples[level],
        tile_size_lv0=side_lv0,
        is_within_tolerance=False,
        base_spacing_um=mpp0,
        slide_dimensions=size,
        level_downsamples=downsamples,
        overlap=1 - stride / side_lv0,
        min_tissue_fraction=0.0,
    )
    unused = dict.fromkeys(("seg_sthresh", "seg_sthresh_up", "seg_mthresh", "seg_close"))
    return TilingResult(
        tiles=tiles,
        sample_id=f"{slide['slug']}-{view}",
        image_path=slide["path"],
        backend=backend,
        requested_backend=backend,
        tolerance=0.05,
        step_px_lv0=stride,
        tissue_method="given",
        requested_seg_downsample=1,
        seg_downsample=1,
        seg_level=0,
        seg_spacing_um=mpp0,
        ref_tile_size_px=side,
        a_t=0,
        a_h=0,
        filter_white=False,
        filter_black=False,
        white_threshold=255,
        black_threshold=0,
        fraction_threshold=1,
        **unused,
    )


if __name__ == "__main__":
    run(work)
