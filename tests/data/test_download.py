import dataclasses
import functools
import shutil

import pytest

from l2g_jax.data import download
from l2g_jax.data.download import Source
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from tests.data.site import IMAGES, names, pack


@pytest.fixture
def source(site):
  """A published set of three images in two archives, and its list."""
  first, *others = IMAGES.items()
  site.files |= {
    "toy.txt": "".join(f"{name}\n" for name in IMAGES).encode(),
    "toy.1.tar.gz": pack([first]),
    "toy.2.tar.gz": pack(others),
  }
  return Source(
    "toy",
    files=[site.url("lists/toy.txt")],
    archives=[site.url("jpg/toy.1.tar.gz"), site.url("jpg/toy.2.tar.gz")],
    check=functools.partial(download.check_list, name="toy", count=3),
    flat=False,
  )


def test_a_set_comes_in_its_layout_and_only_once(site, source, tmp_path):
  folder = download.obtain(source, tmp_path)
  assert folder == tmp_path / "toy"
  assert {name: (folder / "jpg" / name).read_bytes() for name in IMAGES} == IMAGES
  assert names(folder) == [
    "downloads/lock",
    "downloads/toy.1.tar.gz.json",
    "downloads/toy.2.tar.gz.json",
    "downloads/toy.txt.json",
    *(f"jpg/{name}" for name in IMAGES),
    "toy.txt",
  ]
  assert len(site.asked) == 3
  download.obtain(source, tmp_path)
  assert len(site.asked) == 3


def test_archives_stay_where_that_is_wanted(source, tmp_path):
  folder = download.obtain(source, tmp_path, keep_archives=True)
  assert (folder / "downloads" / "toy.1.tar.gz").is_file()


def test_only_what_is_missing_is_fetched_again(site, source, tmp_path):
  folder = download.obtain(source, tmp_path)
  (folder / "jpg" / "y" / "c.jpg").unlink()
  (folder / "toy.txt").unlink()
  site.asked.clear()
  download.obtain(source, tmp_path)
  assert [name for name, _ in site.asked] == ["toy.txt", "toy.2.tar.gz"]
  assert (folder / "jpg" / "y" / "c.jpg").read_bytes() == IMAGES["y/c.jpg"]


def test_an_altered_file_is_refused_by_name(source, tmp_path):
  folder = download.obtain(source, tmp_path)
  (folder / "jpg" / "x" / "b.jpg").write_bytes(b"SECOND")
  with pytest.raises(InputError, match=r"x/b\.jpg was altered; remove it"):
    download.obtain(source, tmp_path)
  download.obtain(source, tmp_path, verify=False)
  (folder / "jpg" / "x" / "b.jpg").write_bytes(b"short")
  with pytest.raises(InputError, match=r"x/b\.jpg was altered"):
    download.obtain(source, tmp_path, verify=False)


@pytest.mark.parametrize("name", ["toy.txt", "toy.2.tar.gz"])
def test_a_file_that_changed_at_its_place_is_refused_until_it_is_accepted(
  site, source, tmp_path, name
):
  folder = download.obtain(source, tmp_path)
  (folder / "toy.txt").unlink()
  shutil.rmtree(folder / "jpg")
  if name == "toy.txt":
    site.files[name] = "\n".join(reversed(IMAGES)).encode()
  else:
    site.files[name] = pack([("x/b.jpg", b"other"), ("y/c.jpg", b"another")])
  for _ in range(2):
    with pytest.raises(InputError, match=rf"{name} has \d+ bytes .* as the first time; remove"):
      download.obtain(source, tmp_path)
    assert not (folder / "jpg" / "y").exists()
    assert not (folder / "downloads" / name).exists()
  (folder / "downloads" / f"{name}.json").unlink()
  download.obtain(source, tmp_path)


def test_a_partial_set_is_refused_by_name(site, source, tmp_path):
  site.files["toy.2.tar.gz"] = pack([("x/b.jpg", b"second")])
  with pytest.raises(InputError, match=r"jpg lacks 1 of 3 images: y/c\.jpg\."):
    download.obtain(source, tmp_path)
  site.files["toy.txt"] = b"x/a.jpg\n"
  with pytest.raises(InputError, match=r"toy\.txt lists 1 images; toy has 3\."):
    download.obtain(source, tmp_path / "again")


def test_a_damaged_archive_comes_again_once_it_is_removed(site, source, tmp_path):
  whole = site.files["toy.2.tar.gz"]
  site.files["toy.2.tar.gz"] = whole[:-20]
  with pytest.raises(InputError, match=r"toy\.2\.tar\.gz is truncated or damaged .* remove it"):
    download.obtain(source, tmp_path)
  site.files["toy.2.tar.gz"] = whole
  (tmp_path / "toy" / "downloads" / "toy.2.tar.gz").unlink()
  download.obtain(source, tmp_path)
  assert [name for name, _ in site.asked].count("toy.1.tar.gz") == 1


def test_files_of_ones_own_are_kept_or_named(source, tmp_path):
  (tmp_path / "toy").mkdir()
  (tmp_path / "toy" / "toy.txt").write_text("mine")
  with pytest.raises(InputError, match=r"toy\.txt differs from what is published"):
    download.obtain(source, tmp_path)
  assert (tmp_path / "toy" / "toy.txt").read_text() == "mine"


def test_a_mirror_must_have_the_same_files(site, source, tmp_path):
  elsewhere = dataclasses.replace(
    source,
    files=["http://127.0.0.1:9/toy.txt"],
    archives=[f"http://127.0.0.1:9/toy.{part}.tar.gz" for part in (1, 2)],
  )
  folder = download.obtain(elsewhere, tmp_path, mirror=site.url("mirror/"))
  (folder / "toy.txt").unlink()
  site.files["toy.txt"] = b"forged"
  with pytest.raises(InputError, match="as the first time"):
    download.obtain(elsewhere, tmp_path, mirror=site.url("mirror"))
  with pytest.raises(InputError, match="begins with http:// or https://"):
    download.obtain(elsewhere, tmp_path, mirror="file:///etc")


def test_two_downloads_to_one_place_are_refused(source, tmp_path):
  inner: list[str] = []

  def check(data_root):
    with pytest.raises(InputError, match="Another process is downloading"):
      download.obtain(source, data_root)
    inner.append("refused")

  with files.locked(tmp_path / "toy" / "downloads", refusal="held"):
    check(tmp_path)
  assert inner == ["refused"]


def test_the_published_addresses():
  assert list(download.SOURCES) == ["roxford5k", "rparis6k", "revisitop1m", "weights"]
  addresses = [
    address for source in download.SOURCES.values() for address in (*source.files, *source.archives)
  ]
  assert len(addresses) == len({address.rpartition("/")[2] for address in addresses}) == 107
  assert addresses[:2] == [
    "http://cmp.felk.cvut.cz/revisitop/data/datasets/roxford5k/gnd_roxford5k.pkl",
    "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/oxbuild_images-v1.tgz",
  ]
  assert addresses[-2].endswith("/revisitop1m/jpg/revisitop1m.100.tar.gz")


def test_an_archive_that_somebody_put_there_stays(site, source, tmp_path):
  path = tmp_path / "toy" / "downloads" / "toy.2.tar.gz"
  path.parent.mkdir(parents=True)
  path.write_bytes(site.files["toy.2.tar.gz"])
  folder = download.obtain(source, tmp_path)
  assert path.read_bytes() == site.files["toy.2.tar.gz"]
  assert not (path.parent / "toy.1.tar.gz").exists()
  shutil.rmtree(folder / "jpg")
  path.write_bytes(pack([("x/b.jpg", b"another")]))
  with pytest.raises(
    InputError, match=r"toy\.2\.tar\.gz has .* as the first time; remove .*toy\.2"
  ):
    download.obtain(source, tmp_path)
  assert path.exists()
