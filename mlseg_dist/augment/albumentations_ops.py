"""Any image-only transform of albumentations as an op, by class name; loaded when a policy has one, and not before.

Its parameters are albumentations' own: what they give in pixels is the same number of pixels on both views.
"""

import difflib
import inspect
import json
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from mlseg_dist.augment.parameters import Albumentation
from mlseg_dist.augment.ranges import Op, seed

Params = dict[str, Any]
_TRIAL_PX = 32
_OURS = frozenset({"p", "always_apply", "strict"})
"""Parameters that are not a transform's own: `p` stands beside it."""


class AlbumentationsOp(Op):
    """An image-only transform of albumentations, with one draw for both views. Comes last, on the finished patches."""

    op: Literal["albumentations"]
    transform: str
    """Name of the class, as `RandomFog`."""
    params: Params = Field(default={}, validate_default=True)
    """What its class is given; what is left out has albumentations' default."""

    @property
    def stream(self) -> str:
        return f"{self.op} {self.transform}"

    @field_validator("transform")
    @classmethod
    def _is_image_only(cls, name: str) -> str:
        _class(name)
        return name

    @field_validator("params")
    @classmethod
    def _can_be_applied(cls, params: Params, info: ValidationInfo) -> Params:
        if "transform" in info.data:  # else that is the mistake
            _try(info.data["transform"], _text(params))
        return params

    def draw(self, random: np.random.Generator) -> Albumentation:
        return Albumentation(self.transform, _text(self.params), seed(random))


def apply(drawn: Albumentation, high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both views, uint8 (P, P, 3), transformed alike; their arrays may be written to. Any thread may call it."""
    transform = _make(drawn.transform, json.loads(drawn.params))  # own: a transform carries its random state
    transform.set_random_seed(drawn.seed)
    transform.add_targets({"low": "image"})
    made = transform(image=high, low=low)
    return made["image"], made["low"]


def cpu_only(policy: Iterable[Op]) -> list[str]:
    """Names of what a policy draws and DALI cannot do."""
    return [op.stream for op in policy if isinstance(op, AlbumentationsOp) and op.p > 0]


@lru_cache(maxsize=256)
def _try(name: str, params: str) -> None:
    """Apply a transform once. Raises ValueError: in words, what is wrong with its parameters, or with it."""
    given, known = json.loads(params), _parameters(_class(name))
    for key in given:
        if key not in known:
            hint = "`p` stands beside `params`; " if key == "p" else ""
            raise ValueError(f"{name} has no parameter {key!r}; {hint}it has {', '.join(known) or 'none'}")
    needs = _make(name, given).targets_as_params
    if needs:
        raise ValueError(f"{name} needs more than the image: {', '.join(needs)}")
    image = np.random.default_rng(0).integers(0, 256, (_TRIAL_PX, _TRIAL_PX, 3), np.uint8)
    drawn = Albumentation(name, params, 0)
    try:
        views = apply(drawn, image, image.copy())
    except Exception as error:  # each transform raises its own kind
        raise ValueError(f"{name} cannot be applied ({_line(error)})") from None
    if any(view.dtype != np.uint8 or view.shape != image.shape for view in views):
        raise ValueError(f"{name} makes {views[0].dtype} {views[0].shape} of a uint8 RGB patch, which has to stay one")


def _class(name: str) -> Any:
    """Raises ValueError unless there is such an image-only transform."""
    library = _library()
    bases = (library.BasicTransform, library.ImageOnlyTransform, library.DualTransform, library.Transform3D)
    transforms = {
        key: found
        for key, found in vars(library).items()
        if inspect.isclass(found) and issubclass(found, library.BasicTransform) and found not in bases
    }
    if name not in transforms:
        near = difflib.get_close_matches(name, transforms, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"albumentations {library.__version__} has no transform {name}{hint}")
    if not issubclass(transforms[name], library.ImageOnlyTransform):
        raise ValueError(
            f"{name} is not image-only: it may move pixels or change labels, which only ops of our own do alike in µm "
            "on both views and their labels"
        )
    return transforms[name]


def _parameters(transform: type) -> list[str]:
    return [key for key in inspect.signature(transform).parameters if key not in _OURS]


def _make(name: str, params: Params) -> Any:
    """A transform that always applies. Raises ValueError."""
    transform = _class(name)
    # Without `strict` some mistakes only warn, and the defaults are taken.
    strict = {"strict": True} if "InitSchema" in vars(transform) else {}
    try:
        return transform(**params, p=1.0, **strict)
    except ValueError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        first = error.__cause__.errors()[0]
        key = first["loc"][0] if first["loc"] else "parameters"
        raise ValueError(f"{name}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
    except TypeError as error:
        raise ValueError(f"{name}: {_line(error)}") from None


def _text(params: Params) -> str:
    return json.dumps(params, sort_keys=True)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _library() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks PyPI for a newer version
    import albumentations

    return albumentations
