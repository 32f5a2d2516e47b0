"""Which scenes there are, of what kind, and which photographs are taken of each."""

import dataclasses
from typing import Literal

import numpy as np

from mini.textures import make_rng

Kind = Literal["landmark", "building", "borrowed", "street"]

_STREAM = 104
# Distractors that have a building of their own, one with a landmark's parts, or none.
_DISTRACTORS: tuple[tuple[Kind, float], ...] = (
  ("building", 0.4),
  ("borrowed", 0.45),
  ("street", 0.15),
)


@dataclasses.dataclass(frozen=True)
class MiniConfig:
  """How large the benchmark is; the defaults are the benchmark, less is for tests.

  Attributes:
    num_landmarks: buildings that queries ask for.
    num_queries: at least as many as landmarks.
    fewest_views: database images of the landmark that has fewest.
    most_views: of the one that has most.
    num_distractor_scenes: places without a landmark.
    distractor_views: database images of each.
    num_points: points by which a landmark's overlap is measured.
    height: of photographs in landscape format, pixels; the width is 4/3 of it.
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
  """One place and its photographs.

  Attributes:
    index: of the scene, landmarks first.
    kind: `landmark`, or what kind of distractor.
    images: names of its database images.
    queries: names of its queries.
  """

  index: int
  kind: Kind
  images: tuple[str, ...]
  queries: tuple[str, ...]


def make_plan(config: MiniConfig, *, seed: int) -> tuple[ScenePlan, ...]:
  """Returns the scenes of the benchmark; names are numbers that say nothing of the scene."""
  rng = make_rng(_STREAM, seed)
  # Few landmarks are photographed often.
  ramp = np.linspace(0, 1, config.num_landmarks) ** 1.5
  views = np.round(config.fewest_views + ramp * (config.most_views - config.fewest_views))
  views = rng.permutation(views.astype(int))
  asked = np.ones(config.num_landmarks, int)
  popular = np.argsort(-views, kind="stable")
  for extra in range(config.num_queries - config.num_landmarks):
    asked[popular[extra % len(popular)]] += 1
  counts = [*views.tolist(), *[config.distractor_views] * config.num_distractor_scenes]
  numbers = rng.permutation(sum(counts))
  places = rng.permutation(int(asked.sum()))
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
        queries=tuple(f"query_{number:03d}" for number in places[query : query + queries]),
      )
    )
    image, query = image + count, query + queries
  return tuple(scenes)
