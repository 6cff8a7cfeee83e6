"""The slide table: what is wrong with it is one line that names row and fix."""

import hashlib

import pytest

from mlseg_core.errors import UserError
from shards.sample import make_key
from shards.slide_table import Slide, read_slide_table, table_warnings
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
        (
            ["a.tif,P1,ER,X,D,train,,,", "b.tif,P1,ER,X,D,val,,,"],
            HEADER,
            ["'P1'", "train (line 2) and val (line 3)", "leak"],
        ),
        (["a.tif,P1,ER,X,D,training,,,"], HEADER, ["line 2", "'training'", "dev-unseen"]),
        (["c.tif,P1,ER,X,D,train,,,"], HEADER, ["line 2", "c.tif", "does not exist"]),
        (["a.tif,P1,ER,X,D,train,c.geojson,,"], HEADER, ["line 2", "c.geojson"]),
        (["a.tif,,ER,X,D,train,,,"], HEADER, ["line 2", "'patient' is empty"]),
        (["a.tif,P1,ER,X,D,train,,fast,"], HEADER, ["line 2", "'mpp'", "'fast'"]),
        (["a.tif,P1,ER,X,D,train,,nan,"], HEADER, ["line 2", "'mpp'"]),
        (["a.tif,P1,ER,X,D"], HEADER, ["line 2", "field count differs"]),
        (
            ["a.tif,P1,ER,X,D,train,,,", "a.tif,P2,ER,X,D,train,,,"],
            HEADER,
            ["listed twice", "lines 2 and 3", "'a.tif'"],
        ),
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


def slug(path):
    return Slide(path, "P", "", "", "", "train", None, None, None).slug


TCGA = "TCGA-00-AAAA-01Z-00-DX1.00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("name", ["a.b.tif", "ä ö.tif", "x'y\".tif", "a+b.tif", "very" * 30 + ".tif", f"{TCGA}.svs"])
def test_slugs_are_safe_and_keep_names_apart(tmp_path, name):
    def of(file):
        return slug(tmp_path / file)

    assert all(c.isascii() and (c.isalnum() or c in "_-") for c in of(name)) and len(of(name)) <= 46
    assert of(name) != of("x" + name) and of("plain-name_1.tif") == "plain-name_1"


@pytest.mark.parametrize(
    "stem", ["n" * length for length in range(36, 64)] + ["n." + "n" * length for length in range(30, 60)]
)
def test_every_name_fits_into_a_key_with_positions_of_eight_digits(tmp_path, stem):
    """But for what recipe 5 could cut and had to keep its slug: 45 and 46 characters."""
    found = slug(tmp_path / f"{stem}.svs")
    digits = 8 if len(found) <= 44 else 7
    assert make_key(found, (9_999_999, 10**digits - 1), digits)
    assert make_key(found, (10 ** (digits - 1), 0), digits) < make_key(found, (0, 10 ** (digits - 1) + 1), digits)


def test_slugs_that_recipe_5_could_cut_stay(tmp_path):
    long = "n" * 37 + ".x"
    for name, before in {
        "plain": "plain",
        "n" * 40: "n" * 40,
        "a.b": "a_b_" + hashlib.sha256(b"a.b").hexdigest()[:6],
        long: "n" * 37 + "_x_" + hashlib.sha256(long.encode()).hexdigest()[:6],
    }.items():
        assert slug(tmp_path / f"{name}.svs") == before


def test_folders_named_by_uid_are_told_apart(tmp_path):
    names = ["1.2.840.113619.2.1", "1.2.840.113619.2.2", "case.A", "case.B"]
    for name in names:
        (tmp_path / name).mkdir()
    assert len({slug(tmp_path / name) for name in names}) == 4
    assert slug(tmp_path / "2.25.77/") != slug(tmp_path / "2.25.78"), "a UID needs no folder to be one"


MUELLER = ("M\u00fcller", "Mu\u0308ller")


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        (*MUELLER, "'Mu\\u0308ller'"),
        ("P-1", "p-1", "'p-1'"),
        ("P 1", "P\u00a01", "'P\\xa01'"),
        ("P1", "P\u200b1", "'P\\u200b1'"),
        ("P 1", "P  1", "'P␣␣1'"),
    ],
)
def test_a_patient_under_two_spellings_is_one_patient(tmp_path, one, other, shown):
    rows = [f"a.tif,{one},ER,X,D,train,,,", f"b.tif,{other},ER,X,D,test,,,"]
    with pytest.raises(UserError) as caught:
        read_slide_table(table(tmp_path, *rows))
    for word in [shown, "line 2, train", "line 3, test", "differ only in how they are written"]:
        assert word in str(caught.value)
    same = read_slide_table(table(tmp_path, *(row.replace("test", "train") for row in rows)))
    assert len(same) == 2 and "column 'patient'" in table_warnings(same)[0] and shown in table_warnings(same)[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (",origin", ["origin 'top' is unknown", "level0, bounds"]),
        (",mpp_override", ["mpp_override is 'top'", "yes or no"]),
    ],
)
def test_new_columns_take_their_words_only(tmp_path, more, words):
    path = table(tmp_path, "a.tif,P1,ER,X,D,train,,1,,top", header=HEADER.replace("\n", f"{more}\n"))
    with pytest.raises(UserError) as caught:
        read_slide_table(path)
    assert all(word in str(caught.value) for word in words)


def test_an_override_needs_a_figure(tmp_path):
    path = table(tmp_path, "a.tif,P1,ER,X,D,train,,,,yes", header=HEADER.replace("\n", ",mpp_override\n"))
    with pytest.raises(UserError, match="column 'mpp' is empty"):
        read_slide_table(path)
