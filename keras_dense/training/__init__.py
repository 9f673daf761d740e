"""Training tools beyond `fit`: balance of tasks, learning rates, checkpoints, scores."""

from keras_dense.training.balanced_model import BalancedModel, balanced
from keras_dense.training.balancers import (
    Balancer,
    DynamicWeightAverage,
    LogSum,
    RandomWeighting,
    UncertaintyWeighting,
)
from keras_dense.training.batch_norm import (
    WIDE_GAP,
    batch_norm_gap,
    batch_norm_momentum,
    freeze_batch_norm,
    recalibrate_batch_norm,
)
from keras_dense.training.blind import blind
from keras_dense.training.blocks import block_decay
from keras_dense.training.bootstrap import Difference, Interval, bootstrap, paired_bootstrap
from keras_dense.training.checkpoint import Checkpoint
from keras_dense.training.class_weights import class_shares, median_frequency
from keras_dense.training.color_prior import estimate_ab_prior
from keras_dense.training.evaluate import class_table, evaluate
from keras_dense.training.image_scores import ImageScores, score_images
from keras_dense.training.infer_labels import Inferred, infer_labels
from keras_dense.training.keep_arguments import keep_arguments
from keras_dense.training.layerwise import LayerwiseOptimizer, layerwise
from keras_dense.training.lora import enable_lora, merge_lora
from keras_dense.training.multitask_delta import multitask_delta
from keras_dense.training.preview import Preview
from keras_dense.training.sampling import SampledPixels, on_sampled_pixels
from keras_dense.training.save import save
from keras_dense.training.score_table import score_table
from keras_dense.training.self_training import self_training
from keras_dense.training.self_training_model import SelfTraining
from keras_dense.training.skip_non_finite import SkipNonFinite
from keras_dense.training.sync_processes import SyncProcesses
from keras_dense.training.views import TwoViews

__all__ = [
    "BalancedModel",
    "Balancer",
    "Checkpoint",
    "Difference",
    "DynamicWeightAverage",
    "ImageScores",
    "Inferred",
    "Interval",
    "LayerwiseOptimizer",
    "LogSum",
    "Preview",
    "RandomWeighting",
    "SampledPixels",
    "SelfTraining",
    "SkipNonFinite",
    "SyncProcesses",
    "TwoViews",
    "UncertaintyWeighting",
    "WIDE_GAP",
    "balanced",
    "batch_norm_gap",
    "batch_norm_momentum",
    "blind",
    "block_decay",
    "bootstrap",
    "class_shares",
    "class_table",
    "enable_lora",
    "estimate_ab_prior",
    "evaluate",
    "freeze_batch_norm",
    "infer_labels",
    "keep_arguments",
    "layerwise",
    "median_frequency",
    "merge_lora",
    "multitask_delta",
    "on_sampled_pixels",
    "paired_bootstrap",
    "recalibrate_batch_norm",
    "save",
    "score_images",
    "score_table",
    "self_training",
]
