import json

import numpy as np
import pytest

from l2g_jax.data.dataset import load_dataset
from l2g_jax.data.images import read_image
from l2g_jax.errors import InputError
from mini import MiniConfig, make, make_mini, make_plan, overlap
from mini.facades import borrow_parts, make_style
from mini.render import Surface, look_at, render
from mini.textures import Patch, Texture, light_relief, make_rng

SMALL = MiniConfig(
  num_landmarks=2,
  num_queries=3,
  fewest_views=2,
  most_views=5,
  num_distractor_scenes=3,
  distractor_views=1,
  num_points=300,
  height=180,
)
SIZE = (60, 80)
LIGHT = np.array([0.0, 0.0, 1.0])


def make_small(root, **options):
  return make_mini(root, config=SMALL, show_progress=False, **{"num_workers": 1, **options})


def read_files(folder):
  return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return make_small(tmp_path_factory.mktemp("mini"))


@pytest.fixture
def copy(made, tmp_path):
  for name, content in read_files(made).items():
    (tmp_path / "mini" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "mini" / name).write_bytes(content)
  return tmp_path / "mini"


def square(x, z, color, *, size=2.0, owned=True, back=False):
  """A square about (x, 0, z) that looks along z, or back."""
  patch = Patch(
    np.full((32, 32, 3), color, np.uint8),
    np.full((32, 32), 255, np.uint8),
    np.zeros((32, 32), np.float32),
  )
  side = -1.0 if back else 1.0
  origin = np.array([x - side * size / 2, size / 2, z])
  across, down = np.array([side * size, 0.0, 0.0]), np.array([0.0, -size, 0.0])
  return Surface(origin, across, down, Texture(patch, flat=True), owned=owned)


def camera_at(*position, target=(0.0, 0.0, 0.0), focal=80.0):
  return look_at(np.array(position), np.array(target), roll=0.0, focal=focal, size=SIZE)


def draw(surfaces, camera):
  return render(surfaces, camera, light=LIGHT, ambient=1.0)


def sight(surfaces, camera):
  points = overlap.sample_points(make_rng(0), surfaces, 2000)
  return overlap.see_points(points, camera, draw(surfaces, camera), SIZE)


def test_the_whole_benchmark_has_the_planned_size():
  plan = make_plan(MiniConfig(), seed=0)
  landmarks = [scene for scene in plan if scene.kind == "landmark"]
  views = [len(scene.images) for scene in landmarks]
  images = [name for scene in plan for name in scene.images]
  queries = [name for scene in plan for name in scene.queries]
  assert len(landmarks) >= 40
  assert len(queries) == len(set(queries)) == 70
  assert len(images) == len(set(images))
  assert len(images) - sum(views) >= 600
  assert 600 <= sum(views) <= 900
  assert min(views) <= 5
  assert max(views) >= 30
  assert all(scene.queries for scene in landmarks)
  assert {scene.kind for scene in plan} == {"landmark", "building", "borrowed", "street"}


@pytest.mark.fast
def test_the_plan_depends_on_the_seed_alone():
  assert make_plan(SMALL, seed=0) == make_plan(SMALL, seed=0)
  assert make_plan(SMALL, seed=0) != make_plan(SMALL, seed=1)


def test_a_borrowed_style_has_parts_of_both_buildings():
  own, other = make_style(0, 3), make_style(0, 4)
  borrowed = borrow_parts(own, other, make_rng(1))
  kinds = ("windows", "doors", "reliefs", "signs", "dials", "statues")
  assert {getattr(borrowed, kind) == getattr(other, kind) for kind in kinds} == {True, False}
  assert make_style(0, 3) == own


def test_it_is_a_data_set_whose_queries_are_not_in_the_database(made):
  dataset = load_dataset(made.parent, "mini")
  ground_truth = dataset.ground_truth
  assert len(ground_truth.imlist) == 2 + 5 + 3
  assert len(ground_truth.qimlist) == 3
  assert not set(ground_truth.imlist) & set(ground_truth.qimlist)
  for path, query in zip(dataset.query_paths, ground_truth.queries, strict=True):
    height, width = read_image(path).shape[:2]
    assert query.bbx is not None
    x1, y1, x2, y2 = query.bbx
    assert 0 < x1 < x2 < width
    assert 0 < y1 < y2 < height


def test_images_are_photographs_of_the_size_asked_for(made):
  for path in (made / "jpg").glob("*.jpg"):
    image = read_image(path)
    assert max(image.shape) == 240
    assert image.std() > 5


def test_labels_follow_from_the_measured_overlap(made):
  ground_truth = load_dataset(made.parent, "mini").ground_truth
  found = set()
  for path in (made / "scenes").glob("*.json"):
    record = json.loads(path.read_text())
    for name, query in record["queries"].items():
      judgement = ground_truth.queries[ground_truth.qimlist.index(name)]
      judged = np.concatenate([judgement.easy, judgement.hard, judgement.junk])
      own = {ground_truth.imlist.index(image) for image in record["images"]}
      assert set(judged.tolist()) <= own
      for image, clarity, share in zip(
        record["images"], record["clarity"], query["overlap"], strict=True
      ):
        number = ground_truth.imlist.index(image)
        quality = clarity * share
        assert (number in judgement.easy) == (quality >= overlap.EASY_OVERLAP)
        assert (number in judgement.hard) == (
          overlap.HARD_OVERLAP <= quality < overlap.EASY_OVERLAP
        )
        found.add(quality >= overlap.HARD_OVERLAP)
  assert found == {True, False}


def test_the_number_of_workers_changes_no_byte(made, tmp_path):
  assert read_files(make_small(tmp_path, num_workers=2)) == read_files(made)


def test_what_is_complete_is_left_alone(copy):
  before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.*")}
  assert make_small(copy.parent) == copy
  assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.*")} == before


def delete(path):
  path.unlink()


def truncate(path):
  path.write_bytes(path.read_bytes()[:100])


def alter(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


@pytest.mark.parametrize("damage", [delete, truncate, alter])
def test_a_damaged_image_is_made_again_and_others_are_not(made, copy, damage):
  images = sorted((copy / "jpg").glob("mini_*.jpg"))
  record = json.loads((copy / "scenes" / "0000.json").read_text())
  others = [path for path in images if f"jpg/{path.name}" not in record["files"]]
  before = [path.stat().st_mtime_ns for path in others]
  damage(copy / "jpg" / f"{record['images'][0]}.jpg")
  make_small(copy.parent)
  assert read_files(copy) == read_files(made)
  assert [path.stat().st_mtime_ns for path in others] == before


@pytest.mark.parametrize("damage", [delete, truncate, alter])
@pytest.mark.parametrize("name", ["manifest.json", "gnd_mini.json", "scenes/0001.json"])
def test_damaged_records_are_not_trusted(made, copy, damage, name):
  damage(copy / name)
  if name.startswith("scenes"):
    (copy / "manifest.json").unlink()
  make_small(copy.parent)
  assert read_files(copy) == read_files(made)


def test_a_benchmark_made_otherwise_is_made_again(made, tmp_path):
  fewer = MiniConfig(
    num_landmarks=1,
    num_queries=1,
    fewest_views=2,
    most_views=2,
    num_distractor_scenes=1,
    height=180,
  )
  folder = make_mini(tmp_path, config=fewer, num_workers=1, show_progress=False)
  first = read_files(folder)
  make_mini(tmp_path, config=fewer, seed=1, num_workers=1, show_progress=False)
  second = read_files(folder)
  assert len(load_dataset(tmp_path, "mini").ground_truth.imlist) == 2 + 4
  assert {name for name in first if first[name] != second[name]} >= {
    name for name in first if name.suffix == ".jpg"
  }


@pytest.mark.fast
def test_planes_are_drawn_where_perspective_puts_them():
  rendering = draw([square(0, 0, 200)], camera_at(0.0, 0.0, 4.0))
  rows, columns = np.nonzero(rendering.owned)
  # 2 m at 4 m with a focal length of 80 pixels.
  assert (rows.min(), rows.max()) == (10, 49)
  assert (columns.min(), columns.max()) == (20, 59)
  np.testing.assert_allclose(rendering.nearness[rendering.owned > 0], 0.25, atol=1e-5)
  assert np.all(rendering.color[30, 40] == 200)


def test_the_nearer_plane_is_seen_and_backs_are_not():
  camera = camera_at(0.0, 0.0, 4.0)
  near, far = square(0, 1, 50, size=1.0, owned=False), square(0, 0, 200)
  for surfaces in ([near, far], [far, near]):
    rendering = draw(surfaces, camera)
    assert rendering.color[30, 40, 0] == 50
    assert rendering.color[12, 22, 0] == 200
    assert rendering.owned[30, 40] == 0
  assert not draw([square(0, 0, 200, back=True)], camera).owned.any()


def test_planes_that_reach_behind_the_camera_are_cut_off():
  ground = Surface(
    np.array([-50.0, 0.0, -50.0]),
    np.array([100.0, 0.0, 0.0]),
    np.array([0.0, 0.0, 100.0]),
    square(0, 0, 90).texture,
    owned=True,
  )
  rendering = draw([ground], camera_at(0.0, 2.0, 0.0, target=(0.0, 2.0, -5.0)))
  assert not rendering.owned[:29].any()
  assert rendering.owned[35:].all()


def test_relief_is_lit_from_the_side_of_the_sun():
  height = np.zeros((9, 9), np.float32)
  height[:, 4] = 2.0
  patch = Patch(np.full((9, 9, 3), 100, np.uint8), np.full((9, 9), 255, np.uint8), height)
  left, right = light_relief(patch, 0)[8, :, 0], light_relief(patch, 2)[8, :, 0]
  assert left[4] > 100 > right[4]
  assert right[5] > 100 > left[5]


def test_overlap_with_itself_is_full():
  view = sight([square(0, 0, 200)], camera_at(0.0, 0.0, 4.0))
  assert overlap.measure_overlap(view, (0, 0, 80, 60), view) == pytest.approx(1.0)


def test_overlap_counts_what_the_box_holds():
  view = sight([square(0, 0, 200)], camera_at(0.0, 0.0, 4.0))
  beside = sight([square(0, 0, 200)], camera_at(-2.0, 0.0, 4.0, target=(-2.0, 0.0, 0.0)))
  # The frame of the other view ends at the middle of the square.
  assert overlap.measure_overlap(view, (0, 0, 80, 60), beside) == pytest.approx(0.5, abs=0.08)
  assert overlap.measure_overlap(view, (0, 0, 39, 60), beside) > 0.9
  assert overlap.measure_overlap(view, (41, 0, 80, 60), beside) < 0.05
  assert overlap.measure_overlap(view, (0, 0, 5, 5), beside) == 0.0


def test_overlap_falls_by_occlusion_scale_and_direction():
  wall, box = square(0, 0, 200), (0, 0, 80, 60)
  view = sight([wall], camera_at(0.0, 0.0, 4.0))
  screen = square(-1, 0.5, 90, size=2.0, owned=False)
  hidden = sight([wall, screen], camera_at(0.0, 0.0, 4.0))
  assert overlap.measure_overlap(view, box, hidden) == pytest.approx(0.5, abs=0.08)
  shares = [
    overlap.measure_overlap(view, box, sight([wall], camera))
    for camera in (
      camera_at(0.0, 0.0, 5.0),
      camera_at(0.0, 0.0, 12.0),
      camera_at(0.0, 0.0, 40.0),
    )
  ]
  assert shares[0] > 0.95 > shares[1] > shares[2] == 0.0
  turned = [
    overlap.measure_overlap(
      view, box, sight([wall], camera_at(4 * np.sin(angle), 0.0, 4 * np.cos(angle)))
    )
    for angle in np.radians([0.0, 20.0, 45.0, 85.0, 180.0])
  ]
  assert turned == sorted(turned, reverse=True)
  assert turned[1] > 0.8
  assert turned[3:] == [0.0, 0.0]


def test_the_fill_of_a_box_is_what_is_seen_of_the_building():
  wall, screen = square(0, 0, 200), square(-1, 0.5, 90, size=2.0, owned=False)
  camera = camera_at(0.0, 0.0, 4.0)
  # Of a photograph half the size of the rendering.
  half = (SIZE[0] // 2, SIZE[1] // 2)
  assert overlap.measure_fill(draw([wall], camera), (10, 5, 30, 25), half) == 1.0
  assert overlap.measure_fill(draw([wall], camera), (0, 5, 20, 25), half) == pytest.approx(0.5)
  assert overlap.measure_fill(draw([wall, screen], camera), (10, 5, 30, 25), half) < 0.6


@pytest.mark.parametrize(
  ("share", "clarity", "visible", "label"),
  [
    (0.9, 0.9, True, "easy"),
    (0.9, 0.2, True, "hard"),
    (0.15, 0.9, True, "hard"),
    (0.02, 0.9, True, "junk"),
    (0.0, 0.9, True, "junk"),
    (0.0, 0.9, False, "negative"),
  ],
)
def test_labels_by_overlap(share, clarity, visible, label):
  assert overlap.choose_label(share, clarity, visible=visible) == label


def test_a_box_keeps_off_the_frame_and_small_ones_are_refused():
  near = sight([square(0, 0, 200)], camera_at(0.0, 0.0, 2.0))
  box = overlap.find_box(near, SIZE)
  assert box is not None
  assert box[0] > 0
  assert box[1] > 0
  assert box[2] < 80
  assert box[3] < 60
  assert overlap.find_box(sight([square(0, 0, 200)], camera_at(0.0, 0.0, 40.0)), SIZE) is None


@pytest.mark.parametrize("name", ["manifest.json", "gnd_mini.json", "jpg/photo.jpg", "notes"])
def test_what_was_not_made_here_stays(tmp_path, name):
  (tmp_path / "mini" / "jpg").mkdir(parents=True)
  (tmp_path / "mini" / name).write_text('{"imlist": ["mine"]}')
  with pytest.raises(InputError, match=rf"{name} was not made here; move it, or give another"):
    make_small(tmp_path)
  assert (tmp_path / "mini" / name).read_text() == '{"imlist": ["mine"]}'


def test_work_that_ended_before_its_first_scene_goes_on(tmp_path, monkeypatch):
  def save_one(folder, name, photograph):
    _save(folder, name, photograph)
    raise KeyboardInterrupt

  _save = make._save
  monkeypatch.setattr(make, "_save", save_one)
  with pytest.raises(KeyboardInterrupt):
    make_small(tmp_path)
  monkeypatch.undo()
  assert list((tmp_path / "mini" / "jpg").iterdir())
  assert make_small(tmp_path) == tmp_path / "mini"
