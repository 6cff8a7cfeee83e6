"""preflight compares what is installed with the project's own specifiers. Distributions that tests lay down are found first."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from launch import version
from launch.preflight import versions
from launch.preflight.node_probe import _packages
from launch.preflight.versions import check_dali, check_packages, required
from launch.version import DISTRIBUTION
from tests.launch.preflight.test_preflight import look, on_slides

LIBRARIES = ("libnppc.so.13", "libnppicc.so.13", "libnppig.so.13", "libnvjpeg.so.13")
KNOWN = {
    "cuda12": [Requirement("nvidia-dali-cuda120>=2.4,<3")],
    "cuda13": [Requirement("nvidia-dali-cuda130>=2.4,<3")],
}
BOTH = ["train.augment_on", "label.decode_on"]


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder that comes before site-packages."""
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    return path


def install(site: Path, name: str, version: str, *more: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *more]) + "\n"
    )


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("torch", "2.11.0"),
        ("torch", "2.11.0+cu130"),
        ("torch", "2.13.1+cpu"),
        ("torch", "2.11.0a0+git1a2b"),
        ("torch", "2.13.0.dev20260401"),
        ("deepspeed", "0.19.8"),
        ("deepspeed", "0.19.9+site"),
    ],
)
def test_versions_that_fit(site, name, version) -> None:
    install(site, name, version)
    assert not list(check_packages(required()[""]))


@pytest.mark.parametrize(
    ("name", "version", "limits"),
    [
        ("torch", "2.10.0", ">=2.11,<2.14"),
        ("torch", "2.14.0+cu130", ">=2.11,<2.14"),
        ("torch", "2.14.0a0", ">=2.11,<2.14"),
        ("deepspeed", "0.18.9", ">=0.19.8,<0.20"),
        ("deepspeed", "0.20.0", ">=0.19.8,<0.20"),
        ("albumentations", "2.0.9", "==2.0.8"),
        ("torch", "unknown", ">=2.11,<2.14"),
    ],
)
def test_a_version_outside_the_projects_limits_is_named_with_its_remedy(site, name, version, limits) -> None:
    install(site, name, version)
    (found,) = check_packages(required()[""])
    assert (found.name, found.mark, found.fix) == (name, "bad", f"pip install '{name}{limits}'")
    assert found.seen == f"{name} {version} is installed, {limits} is needed"
    assert _packages([]) == [[found.seen, found.fix]], "on a node as well"


def test_preflight_shows_one_row_for_each(site, tmp_path, capsys) -> None:
    install(site, "torch", "2.10.0")
    install(site, "deepspeed", "0.18.9")
    status, found = look(capsys, on_slides(tmp_path))
    assert status == 2 and found.get("python", {}).get("mark") != "ok"
    assert {name for name in ("torch", "deepspeed") if found[name]["mark"] == "bad"} == {"torch", "deepspeed"}


def test_without_the_source_tree_the_installed_distribution_says_what_is_needed(site, tmp_path, monkeypatch) -> None:
    """As a run folder's frozen code, on a node."""
    needs = ["torch<2,>=1", "surely-not-there", 'nvidia-dali-cuda130>=2.4; extra == "cuda13"']
    install(site, DISTRIBUTION, "9", "Provides-Extra: cuda13", *(f"Requires-Dist: {line}" for line in needs))
    monkeypatch.setattr(version, "HOME", tmp_path / "code")
    known = required()
    assert [one.name for one in known[""]] == ["torch", "surely-not-there"]
    assert [one.name for one in known["cuda13"]] == ["nvidia-dali-cuda130"]
    said = [found.seen for found in check_packages(known[""])]
    assert said[0] == "not installed: surely-not-there" and said[1].startswith("torch 2.")


@pytest.fixture
def dali(site, monkeypatch) -> Path:
    """A folder `nvidia` with a DALI for CUDA 13 in it, and all libraries; its own distributions are hidden."""
    for module in ("nvidia", "nvidia.dali"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    folder = site / "nvidia"
    for path in (folder / "dali", folder / "cu13" / "lib"):
        path.mkdir(parents=True)
    for path in (folder, folder / "dali"):
        (path / "__init__.py").touch()
    one = folder / "cu13" / "lib" / LIBRARIES[0]
    subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", "-o", one], check=True)
    for name in LIBRARIES[1:]:
        one.with_name(name).write_bytes(one.read_bytes())
    real = versions.installed
    monkeypatch.setattr(versions, "installed", lambda name: real(name) if (site / dist(name)).exists() else None)
    return folder


def dist(name: str) -> str:
    return f"{name.replace('-', '_')}-2.4.0.dist-info"


def test_dali_with_all_that_it_opens_is_ready(site, dali) -> None:
    install(site, "nvidia-dali-cuda130", "2.4.0")
    (found,) = check_dali(BOTH, KNOWN)
    assert (found.mark, found.seen) == ("ok", "nvidia-dali-cuda130 2.4.0, for train.augment_on and label.decode_on")


def test_libraries_that_dali_would_open_in_vain_are_named(site, dali) -> None:
    """NPP only where views are augmented; a file that is cut short is none."""
    install(site, "nvidia-dali-cuda130", "2.4.0")
    (dali / "cu13" / "lib" / "libnppig.so.13").unlink()
    cut = dali / "cu13" / "lib" / "libnppicc.so.13"
    cut.write_bytes(cut.read_bytes()[:1000])
    (found,) = check_dali(BOTH, KNOWN)
    assert found.mark == "bad" and found.fix == "pip install 'mlseg-tissue[cuda13]'"
    assert found.seen == "nvidia-dali-cuda130 2.4.0 does not find libnppicc.so.13, libnppig.so.13"
    assert [one.mark for one in check_dali(["label.decode_on"], KNOWN)] == ["ok"]
    (dali / "cu13" / "lib" / "libnvjpeg.so.13").unlink()
    assert [one.seen for one in check_dali(["label.decode_on"], KNOWN)] == [
        "nvidia-dali-cuda130 2.4.0 does not find libnvjpeg.so.13"
    ]


def test_two_dalis_in_one_folder_are_refused(site, dali) -> None:
    install(site, "nvidia-dali-cuda130", "2.4.0")
    install(site, "nvidia-dali-cuda120", "2.4.0")
    (found,) = check_dali(BOTH, KNOWN)
    assert found.mark == "bad" and "each over the other's files" in found.seen


def test_a_dali_of_another_version_is_refused(site, dali) -> None:
    install(site, "nvidia-dali-cuda130", "2.4.0")
    (found,) = check_dali(BOTH, {**KNOWN, "cuda13": [Requirement("nvidia-dali-cuda130>=2.5")]})
    assert found.mark == "bad" and found.seen == "nvidia-dali-cuda130 2.4.0 is installed, >=2.5 is needed"
