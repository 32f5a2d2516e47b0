"""Data sets: their images and ground truth, folders of photographs, and downloads."""

from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.data.ground_truth import (
  GroundTruth,
  QueryJudgement,
  load_ground_truth,
  save_ground_truth,
)
from l2g_jax.data.images import crop_to_box, read_image
from l2g_jax.data.photo_folders import list_images

__all__ = [
  "Dataset",
  "GroundTruth",
  "QueryJudgement",
  "crop_to_box",
  "list_images",
  "load_dataset",
  "load_ground_truth",
  "read_image",
  "save_ground_truth",
]
