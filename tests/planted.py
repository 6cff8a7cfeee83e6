"""Files of somebody else, planted into folders that we write to; afterwards they are as they were."""

from pathlib import Path

NAMES = ("notes.txt", ".hidden", "._x.json", ".tmp-mine", ".tmp-12-notes.tar", "foreign.tar", "mine.json", "backup.pt")
"""Regular files; `._x.json` as macOS leaves them."""


def plant(*folders: Path) -> dict[Path, bytes]:
    """Into each: regular files, folders and symbolic links to a file and to a folder outside. Returns what to `find` again."""
    planted = {}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        outside = folder.parent / f"outside-of-{folder.name}"
        (outside / "deep").mkdir(parents=True)
        (folder / "my folder").mkdir()
        (folder / ".tmp-folder").mkdir()
        (folder / "empty").mkdir()
        files = [folder / name for name in NAMES]
        files += [
            folder / "my folder" / "a.tar",
            folder / ".tmp-folder" / "step-1",
            outside / "data.tar",
            outside / "deep" / "x",
        ]
        for number, path in enumerate(files):
            path.write_bytes(f'{{"mine": {number}, "of": "{folder.name}"}}'.encode())
            planted[path] = path.read_bytes()
        (folder / "link.tar").symlink_to(outside / "data.tar")
        (folder / "link folder").symlink_to(outside)
    return planted


def lost(planted: dict[Path, bytes], *folders: Path) -> list[str]:
    """What is not as it was planted. folders: those given to `plant`, whose links and empty folders are looked at too."""
    gone = [str(path) for path, data in planted.items() if not path.is_file() or path.read_bytes() != data]
    for folder in folders:
        for name in ("link.tar", "link folder"):
            if not (folder / name).is_symlink():
                gone.append(str(folder / name))
        if not (folder / "empty").is_dir():
            gone.append(str(folder / "empty"))
    return gone


def plant_beside(root: Path) -> list[Path]:
    """Beside every file below a folder what systems and people leave: macOS' and NFS' own files, backups, copies. Returns them."""
    planted: list[Path] = []
    folders = [root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]:
        whole = path.read_bytes()
        names = {
            f"._{path.name}": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ",
            f"{path.name}~": whole,
            f"{path.name}.bak": whole,
            f"{path.stem} (copy){path.suffix}": whole[: len(whole) // 2],
            f".#{path.name}": b"",
        }
        for name, data in names.items():
            (path.parent / name).write_bytes(data)
            planted.append(path.parent / name)
    for folder in folders:
        for name in (".DS_Store", ".nfs000000000012345600000001", "Thumbs.db"):
            (folder / name).write_bytes(b"\x00\x00\x00\x01Bud1")
            planted.append(folder / name)
    return planted
