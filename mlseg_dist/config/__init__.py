"""What is trained, on what, and how: typed models of a campaign's steps (Table 8) and of what surrounds them."""

from mlseg_dist.augment.policy import PolicyConfig
from mlseg_dist.config.base import CLASSES, FACTORS, HELD_OUT, IGNORED, VIEWS, Count, Fraction, Positive, ViewName
from mlseg_dist.config.evaluation import CheckConfig, EvaluateConfig, TrackingConfig
from mlseg_dist.config.labels import LabelConfig
from mlseg_dist.config.learning import LearningConfig, StepConfig
from mlseg_dist.config.networks import (
    DecoderConfig,
    EncoderConfig,
    HeadWeights,
    HookNetConfig,
    LossConfig,
    LossGroup,
    ModelConfig,
)
from mlseg_dist.config.training import HealthConfig, ProfileConfig, TrainConfig

__all__ = [
    "CLASSES",
    "FACTORS",
    "HELD_OUT",
    "IGNORED",
    "VIEWS",
    "CheckConfig",
    "Count",
    "DecoderConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "Fraction",
    "HeadWeights",
    "HealthConfig",
    "HookNetConfig",
    "LabelConfig",
    "LearningConfig",
    "LossConfig",
    "LossGroup",
    "ModelConfig",
    "PolicyConfig",
    "Positive",
    "ProfileConfig",
    "StepConfig",
    "TrackingConfig",
    "TrainConfig",
    "ViewName",
]
