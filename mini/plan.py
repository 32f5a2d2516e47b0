"""The plan of the benchmark: its scenes, their kinds, and the photographs of each."""

import dataclasses
from typing import Literal

import numpy as np

from mini.textures import make_rng

Kind = Literal["landmark", "building", "borrowed", "street"]

_STREAM = 104
# Shares of distractors with a building of their own, one with parts of a landmark, or none.
_DISTRACTORS: tuple[tuple[Kind, float], ...] = (
  ("building", 0.4),
  ("borrowed", 0.45),
  ("street", 0.15),
)


@dataclasses.dataclass(frozen=True)
class MiniConfig:
  """The size of the benchmark; the defaults are the full size, and tests use less.

  Attributes:
    num_landmarks: number of buildings for which there are queries.
    num_queries: number of queries, at least `num_landmarks`.
    fewest_views: database images of the least photographed landmark.
    most_views: database images of the most photographed landmark.
    num_distractor_scenes: number of scenes without a landmark.
    distractor_views: database images of each of them.
    num_points: number of points of a landmark by which overlap is measured.
    height: height in pixels of a 4:3 photograph; the longer side has 4/3 of it in every format.
  """

  num_landmarks: int = 48
  num_queries: int = 70
  fewest_views: int = 4
  most_views: int = 36
  num_distractor_scenes: int = 165
  distractor_views: int = 4
  num_points: int = 1500
  height: int = 480


@dataclasses.dataclass(frozen=True)
class ScenePlan:
  """One scene and its photographs.

  Attributes:
    index: number of the scene; landmarks come first.
    kind: `landmark`, or the kind of distractor.
    images: names of its database images.
    queries: names of its queries.
  """

  index: int
  kind: Kind
  images: tuple[str, ...]
  queries: tuple[str, ...]


def make_plan(config: MiniConfig, *, seed: int) -> tuple[ScenePlan, ...]:
  """Returns the scenes of the benchmark; names are random numbers, which do not tell the scene."""
  rng = make_rng(_STREAM, seed)
  # Only a few landmarks are photographed often.
  ramp = np.linspace(0, 1, config.num_landmarks) ** 1.5
  views = np.round(config.fewest_views + ramp * (config.most_views - config.fewest_views))
  views = rng.permutation(views.astype(int))
  asked = np.ones(config.num_landmarks, int)
  popular = np.argsort(-views, kind="stable")
  for extra in range(config.num_queries - config.num_landmarks):
    asked[popular[extra % len(popular)]] += 1
  counts = [*views.tolist(), *[config.distractor_views] * config.num_distractor_scenes]
  numbers = rng.permutation(sum(counts))
  query_numbers = rng.permutation(int(asked.sum()))
  chosen = rng.choice(
    len(_DISTRACTORS), size=config.num_distractor_scenes, p=[share for _, share in _DISTRACTORS]
  )
  kinds = [_DISTRACTORS[number][0] for number in chosen]
  scenes, image, query = [], 0, 0
  for index, count in enumerate(counts):
    landmark = index < config.num_landmarks
    queries = int(asked[index]) if landmark else 0
    scenes.append(
      ScenePlan(
        index=index,
        kind="landmark" if landmark else kinds[index - config.num_landmarks],
        images=tuple(f"mini_{number:05d}" for number in numbers[image : image + count]),
        queries=tuple(f"query_{number:03d}" for number in query_numbers[query : query + queries]),
      )
    )
    image, query = image + count, query + queries
  return tuple(scenes)
