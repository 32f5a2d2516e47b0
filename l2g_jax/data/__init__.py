"""Data sets: ground truth, images, feature stores, and the built-in benchmark."""

from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.data.ground_truth import (
  GroundTruth,
  QueryJudgement,
  load_ground_truth,
  save_ground_truth,
)
from l2g_jax.data.images import crop_to_box, read_image
from l2g_jax.data.photo_folders import list_images
from l2g_jax.features.store import FeatureStore, open_store

__all__ = [
  "Dataset",
  "FeatureStore",
  "GroundTruth",
  "QueryJudgement",
  "crop_to_box",
  "list_images",
  "load_dataset",
  "load_ground_truth",
  "open_store",
  "read_image",
  "save_ground_truth",
]
