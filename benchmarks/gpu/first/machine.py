"""What the machine has: device, driver, versions, and the libraries that DALI opens at run time."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.gpu.first.parts import Rows, Settings
from launch.preflight.versions import missing_libraries

_PACKAGES = (
    *("torch", "deepspeed", "nvidia-dali-cuda130", "nvidia-dali-cuda120", "numpy", "opencv-python-headless", "monai"),
    *(
        "webdataset",
        "albumentations",
        "simplejpeg",
        "imagecodecs",
        "pydantic",
        "submitit",
        "openslide-python",
        "pytest",
    ),
)


def where(device: str) -> str:
    """The machine in words, without touching CUDA in this process."""
    host = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    return f"a GPU ({host})" if device == "cuda" else f"a CPU ({host}): a trial of the command, not a measurement"


def look(settings: Settings, rows: Rows) -> None:
    """Device, packages, libraries: one row each."""
    if settings.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        rows.add(
            what=properties.name,
            found=f"{properties.total_memory / 2**30:.0f} GiB, {properties.multi_processor_count} SMs,"
            f" compute capability {properties.major}.{properties.minor}, {torch.cuda.device_count()} visible",
        )
        rows.add(what="CUDA of torch", found=torch.version.cuda)
        rows.add(what="cuDNN", found=str(torch.backends.cudnn.version()))
        rows.add(what="NCCL", found=".".join(map(str, torch.cuda.nccl.version())))
    rows.add(what="CPU cores", found=str(settings.cores))
    for name in _PACKAGES:
        rows.add(what=name, found=_version(name))
    major = int((torch.version.cuda or "13").partition(".")[0])
    missing = missing_libraries(["train.augment_on", "label.decode_on"], major)
    rows.add(
        what=f"libraries that DALI opens (CUDA {major})",
        found=f"missing: {', '.join(missing)}" if missing else "all load",
    )
    rows.add(what="NVIDIA DALI", found=_dali())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _dali() -> str:
    try:
        from nvidia.dali import __version__, fn

        return f"{__version__} imports; experimental.remap {'exists' if hasattr(fn.experimental, 'remap') else 'is missing'}"
    except Exception as error:  # whatever goes wrong is what we want to know
        return f"does not import: {type(error).__name__}: {error}"
