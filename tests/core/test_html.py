"""The HTML kit: what is not a template is escaped, a missing value is an error, and no other module writes markup."""

import re
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser

import jinja2
import pytest

from launch.cli import COMMANDS
from launch.run_folder import code_hash
from mlseg_core import html
from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.html import Cell, Html, Row, Section, Templates
from tests.core.test_layers import MAY_IMPORT, ROOT

EVIL = """<script>alert('x')</script>&"'`>"""
KIT = ROOT / "mlseg_core" / "html"
PAGES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.html"))]


class Read(HTMLParser):
    """Text, tags and attributes' values of a piece of HTML."""

    def __init__(self, piece: str) -> None:
        super().__init__()
        self.text, self.tags, self.values = "", [], []
        self.feed(str(piece))  # a plain string: a Html that is cut into pieces escapes them
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [value for _, value in attributes]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("piece", "times"),
    [
        (lambda: html.heading(EVIL), 1),
        (lambda: html.note(EVIL), 1),
        (lambda: html.warning(EVIL), 1),
        (lambda: html.details(EVIL, html.note(EVIL)), 2),
        (lambda: html.tagged(EVIL, [EVIL]), 2),
        (lambda: html.dotted(EVIL, EVIL), 2),
        (lambda: html.legend({EVIL: EVIL}), 2),
        (lambda: html.figure(EVIL, EVIL, EVIL), 3),
        (lambda: html.grid([EVIL], EVIL), 2),  # type: ignore[list-item]
        (lambda: html.join([EVIL, EVIL]), 2),  # type: ignore[list-item]
        (lambda: html.table([[EVIL]], [[EVIL]], EVIL, EVIL, EVIL), 5),
        (lambda: html.table([], [Row([Cell(EVIL, EVIL, 2, EVIL, EVIL, EVIL)], EVIL)]), 6),
        (lambda: Section(EVIL, EVIL.replace("`", ""), [html.note(EVIL)]).shown, 2),
        (lambda: Section("a", f"`{EVIL.replace('`', '')}`", []).shown, 0),
    ],
)
def test_every_value_is_escaped_once_wherever_it_stands(piece, times):
    found = Read(piece())
    assert isinstance(piece(), Html) and "script" not in found.tags
    assert "\n".join([found.text, *found.values]).count(EVIL) == times
    assert "&lt;" not in found.text, "nothing is escaped twice"


def test_what_stands_between_backticks_is_code_and_a_single_backtick_stays():
    assert "<code>mlseg run</code> &lt;b&gt; ` left" in Section("a", "`mlseg run` <b> ` left", []).shown


def test_a_value_that_is_missing_is_an_error(tmp_path):
    (tmp_path / "page.html").write_text("{{ given }}{{ forgotten }}")
    with pytest.raises(jinja2.UndefinedError, match="forgotten"):
        Templates(tmp_path).page("page.html", given=1)


def test_only_the_kit_makes_html_and_only_templates_hold_markup():
    """Elsewhere no Python string has a closing tag, nothing is declared safe, and no template switches escaping off.

    wandb.Html is W&B's name for a drawing that it shows in a frame of its own.
    """
    assert len(PAGES) >= 7
    for path in (path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")):
        code = path.read_text() if KIT not in path.parents else ""
        assert not re.search(r"(?<!wandb\.)\b(?:Html|Markup)\(|markupsafe|jinja2", code), path
        assert not re.search(r"</(?:a|b|p|t[dhr]|div|span|table|figure|svg)>", code), path
    for path in PAGES:
        assert not re.search(r"\|\s*(?:safe|forceescape)\b|autoescape|<script|\son\w+=", path.read_text()), path


def test_the_style_sheet_has_the_colours_of_the_figures_and_loads_nothing():
    from mlseg_dist.report import look

    sheet = (KIT / "style.css").read_text()
    for name in ("ink", "muted", "line", "paper", "good", "bad"):
        assert f"--{name}: {getattr(look, name.upper())};" in sheet
    assert not re.search(r"url\(|@import|</", sheet)


def test_a_wheel_holds_the_templates_and_the_style_sheet(tmp_path):
    """Built from a copy: setuptools leaves a folder `build` behind."""
    copy = tmp_path / "copy"
    for package in MAY_IMPORT:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    code = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
    made = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=True)
    names = set(zipfile.ZipFile(tmp_path / made.stdout.split()[-1]).namelist())
    assert {path.relative_to(ROOT).as_posix() for path in [*PAGES, KIT / "style.css"]} <= names


def test_the_command_line_loads_no_templates():
    """jinja2 takes a tenth of a second to load."""
    names = sorted({f"launch.commands.{module}" for module, _ in COMMANDS.values()})
    code = f"import {', '.join(names)}, mlseg_dist.report.table, sys; raise SystemExit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_hash_of_the_code_covers_templates_and_is_as_before_without_them(tmp_path):
    (tmp_path / "a.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    bare = code_hash({"x": tmp_path})
    assert bare == fingerprint({"x/a.py": sha256_file(tmp_path / "a.py")})
    (tmp_path / "a.html").write_text("")
    first = code_hash({"x": tmp_path})
    (tmp_path / "a.html").write_text("changed")
    assert len({bare, first, code_hash({"x": tmp_path})}) == 3
