"""The templates of the corpus' page, and the pieces that several sections share."""

from pathlib import Path

from mlseg_core.html import Templates

TEMPLATES = Templates(Path(__file__).parent / "templates")
made = TEMPLATES.macros("parts.html")
