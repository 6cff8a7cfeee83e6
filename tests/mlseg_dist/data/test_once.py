"""Where a patch lies is read from its key exactly, at any µm/px of the slide, and what does not say it is refused in words."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlseg_core.errors import UserError
from mlseg_dist.data.corpus import PairRef
from mlseg_dist.data.once import Scales, centres_of
from shards.sample import make_key


def corpus_of(high_mpp, ratio):
    """What centres_of asks of a corpus."""
    manifest = SimpleNamespace(
        views={"high_mpp": high_mpp}, ratio=ratio, shards=[SimpleNamespace(name="s-00000000-000.tar")]
    )
    return SimpleNamespace(manifest=manifest, folder=Path("corpus"))


@given(
    st.sampled_from([2, 4, 8]),
    st.floats(0.1, 1.2),
    st.floats(0.1, 1.2),
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 30_000)), min_size=1, max_size=5),
)
def test_rounded_level_0_positions_give_back_the_seeds(ratio, mpp_x, mpp_y, cells):
    """Slides scanned coarser than the high view too, up to 2.4 times: there a key's unit is larger than a pixel of the view."""
    high_mpp = 0.5
    seeds = [(ratio * row, ratio * column) for row, column in cells]
    keys = [make_key("s", (column * high_mpp / mpp_x, row * high_mpp / mpp_y), 8) for row, column in seeds]
    if ratio / 2 * high_mpp / max(mpp_x, mpp_y) <= 0.55:  # a key that is rounded by half a px could be another seed's
        return
    refs = [PairRef(0, row, key, "s", "val") for row, key in enumerate(keys)]
    scales = Scales({"s": (round(mpp_y, 6), round(mpp_x, 6))}, {})
    assert np.array_equal(centres_of(corpus_of(high_mpp, ratio), refs, scales), seeds)


def test_a_key_without_a_position_is_refused():
    with pytest.raises(UserError, match=r"s-00000000-000\.tar: not a valid key: 'patch-7'.*Build the shards again"):
        centres_of(corpus_of(0.5, 4), [PairRef(0, 0, "patch-7", "s", "val")], Scales({"s": (0.5, 0.5)}, {}))
