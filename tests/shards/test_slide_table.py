"""The slide table: what is wrong with it is one line that names row and mend."""

import pytest

from mlseg_core.errors import UserError
from shards.slide_table import Slide, read_slide_table
from tests.shards.slides_for_tests import HEADER


def table(folder, *rows, header=HEADER):
    for name in ("a.tif", "b.tif", "a.geojson"):
        (folder / name).touch()
    path = folder / "slides.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


def test_reads_rows_relative_to_the_table(tmp_path):
    path = table(tmp_path, "a.tif,P1,ER,Philips,DS1,train,a.geojson,0.25,6", "b.tif,P2,PR,Philips,DS1,val,,,")
    first, second = read_slide_table(path)
    assert first.slide == tmp_path / "a.tif" and first.annotation == tmp_path / "a.geojson"
    assert (first.mpp, first.score, second.mpp, second.annotation) == (0.25, 6.0, None, None)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (["a.tif,P1,ER,X,D,train,,,", "b.tif,P1,ER,X,D,val,,,"], HEADER, ["'P1'", "train and val", "leak"]),
        (["a.tif,P1,ER,X,D,training,,,"], HEADER, ["line 2", "'training'", "dev-unseen"]),
        (["c.tif,P1,ER,X,D,train,,,"], HEADER, ["line 2", "c.tif", "does not exist"]),
        (["a.tif,P1,ER,X,D,train,c.geojson,,"], HEADER, ["line 2", "c.geojson"]),
        (["a.tif,,ER,X,D,train,,,"], HEADER, ["line 2", "'patient' is empty"]),
        (["a.tif,P1,ER,X,D,train,,fast,"], HEADER, ["line 2", "'mpp'", "'fast'"]),
        (["a.tif,P1,ER,X,D,train,,nan,"], HEADER, ["line 2", "'mpp'"]),
        (["a.tif,P1,ER,X,D"], HEADER, ["line 2", "number of fields"]),
        (["a.tif,P1,ER,X,D,train,,,", "a.tif,P2,ER,X,D,train,,,"], HEADER, ["two slides", "'a'"]),
        ([], HEADER, ["no slides"]),
        (["a.tif,train"], "slide,split\n", ["missing columns", "patient"]),
        (["a.tif,P1,ER,X,D,train,,1,2,3"], HEADER.replace("\n", ",colour\n"), ["unknown columns: colour"]),
    ],
)
def test_mistakes(tmp_path, rows, header, words):
    path = table(tmp_path, *rows, header=header)
    with pytest.raises(UserError) as caught:
        read_slide_table(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["a.b.tif", "ä ö.tif", "x'y\".tif", "a+b.tif", "very" * 30 + ".tif"])
def test_slugs_are_safe_and_keep_names_apart(tmp_path, name):
    def slug(file):
        return Slide(tmp_path / file, "P", "", "", "", "train", None, None, None).slug

    assert all(c.isascii() and (c.isalnum() or c in "_-") for c in slug(name)) and len(slug(name)) <= 47
    assert slug(name) != slug("x" + name) and slug("plain-name_1.tif") == "plain-name_1"
