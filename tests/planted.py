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
