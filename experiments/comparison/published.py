"""Published figures of the systems, each with its source; they stand apart from measured ones."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Published:
  """The mAP that a source gives for a system, in percent, medium and hard.

  Attributes:
    system: as its source names it.
    roxford: medium and hard on Revisited Oxford; None where the source gives none.
    rparis: on Revisited Paris.
    training: the training set of its features and whether it is free of the test landmarks.
    source: where the figures stand, and whether they were read there or recalled.
  """

  system: str
  roxford: tuple[float | None, float | None]
  rparis: tuple[float | None, float | None]
  training: str
  source: str


# arXiv 2404.01524 found landmarks of both test sets in GLDv2-clean.
_GLDV2 = "GLDv2-clean: overlaps the test landmarks"
_SFM = "SfM-120k: clean, its authors removed the test landmarks"

PUBLISHED: Sequence[Published] = (
  Published("L2G", (92.9, None), (97.1, None), _GLDV2, "arXiv 2509.04351; taken to be medium"),
  Published("L2G, +1M", (90.5, None), (92.1, None), _GLDV2, "arXiv 2509.04351; taken to be medium"),
  Published(
    "SuperGlobal R101, re-ranked",
    (90.9, 80.2),
    (93.3, 86.7),
    _GLDV2,
    "arXiv 2308.06954; 80.2 read in a listing, the others recalled",
  ),
  Published(
    "LOCORE on SuperGlobal",
    (92.0, 81.8),
    (93.8, 87.7),
    _GLDV2,
    "recalled; its users report 84.0 / 68.1 on Oxford with global features of their own",
  ),
  Published(
    "AMES DINOv2, top 1600",
    (87.7, 74.4),
    (None, None),
    "GLDv2: overlaps the test landmarks",
    "reported by users, with the authors' files; 77.7 / 56.7 with images downloaded again",
  ),
  Published("FIRe + ASMK", (82.6, 62.2), (85.2, 70.0), _SFM, "the authors' repository"),
  Published("HOW R50 + ASMK, n = 2000", (79.4, None), (81.6, None), _SFM, "README of jenicek/asmk"),
  Published(
    "CSA on GeM R101",
    (77.9, 58.4),
    (87.2, 74.4),
    "GL18 for the features: overlap not examined; SfM-120k for the re-ranking",
    "README of MCC-WH/CSA",
  ),
)
