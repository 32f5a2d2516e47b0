import resource
import shutil

import pytest

from l2g_jax.data import transfer
from l2g_jax.errors import InputError
from tests.data.site import CONTENT, names


def test_a_file_appears_whole_and_alone(site, tmp_path):
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert (tmp_path / "a.bin").read_bytes() == CONTENT
  assert names(tmp_path) == ["a.bin"]
  assert site.asked == [("a.bin", None)]


def test_what_broke_off_is_taken_up_where_it_stood(site, tmp_path):
  site.cuts = [1000, 500, 1]
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=(0,))
  assert (tmp_path / "a.bin").read_bytes() == CONTENT
  assert [wanted for _, wanted in site.asked] == [None, "bytes=1000-", "bytes=1500-", "bytes=1501-"]
  assert names(tmp_path) == ["a.bin"]


def test_another_call_takes_up_what_an_earlier_one_left(site, tmp_path):
  site.cuts = [1000]
  with pytest.raises(ConnectionError, match="broke off after 1000 of 16384 bytes; run the same"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=())
  assert not (tmp_path / "a.bin").exists()
  assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:1000]
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert (tmp_path / "a.bin").read_bytes() == CONTENT
  assert site.asked[1:] == [("a.bin", "bytes=1000-")]


def test_a_part_that_is_whole_needs_no_server(site, tmp_path):
  site.cuts = [1000]
  with pytest.raises(ConnectionError):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=())
  (tmp_path / "a.bin.part").write_bytes(CONTENT)
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert len(site.asked) == 1
  assert names(tmp_path) == ["a.bin"]


def test_attempts_end_when_nothing_comes_any_more(site, tmp_path):
  site.cuts = [1000, 0, 500, 0, 0]
  with pytest.raises(ConnectionError, match="broke off after 1500 of 16384"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=(0, 0))
  assert len(site.asked) == 5


@pytest.mark.parametrize("fault", [{"ranges": False}, {"tag": None}])
def test_without_ranges_or_versions_a_file_is_begun_anew(site, tmp_path, fault):
  for key, value in fault.items():
    setattr(site, key, value)
  site.cuts = [1000]
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=(0,))
  assert (tmp_path / "a.bin").read_bytes() == CONTENT
  assert names(tmp_path) == ["a.bin"]
  site.cuts = [1000] * 9
  with pytest.raises(ConnectionError, match="broke off after 1000"):
    transfer.fetch(site.url("a.bin"), tmp_path / "b.bin", delays=(0, 0))
  assert len(site.asked) == 2 + 3


def test_parts_of_two_versions_are_never_joined(site, tmp_path):
  site.cuts = [1000]
  with pytest.raises(ConnectionError):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=())
  site.files["a.bin"], site.tag = CONTENT[::-1], '"2"'
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("change", ["tag", "size", "status", "start"])
def test_a_server_that_continues_another_version_is_not_believed(site, tmp_path, change):
  site.cuts, site.checks_tag = [1000], False
  with pytest.raises(ConnectionError):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=())
  site.files["a.bin"] = CONTENT[::-1] + (b"more" if change == "size" else b"")
  site.tag = '"1"' if change == "size" else '"2"'
  site.statuses = [416] if change == "status" else []
  site.lies = {"ETag": '"1"', "Content-Range": "bytes 0-1/16384"} if change == "start" else {}
  with pytest.raises(ConnectionError, match="changed while it was fetched"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  site.lies = {}
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert (tmp_path / "a.bin").read_bytes() == site.files["a.bin"]


def test_a_part_from_elsewhere_is_not_continued(site, tmp_path):
  site.files["b.bin"] = CONTENT[::-1]
  site.cuts = [1000]
  with pytest.raises(ConnectionError):
    transfer.fetch(site.url("a.bin"), tmp_path / "x", delays=())
  transfer.fetch(site.url("b.bin"), tmp_path / "x")
  assert (tmp_path / "x").read_bytes() == CONTENT[::-1]


def test_a_tag_that_is_weak_does_not_make_ranges_safe(site, tmp_path):
  site.tag, site.cuts = 'W/"1"', [1000]
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=(0,))
  assert (tmp_path / "a.bin").read_bytes() == CONTENT
  assert [wanted for _, wanted in site.asked] == [None, None]


def test_the_wrong_size_is_refused(site, tmp_path):
  site.cuts = [1000]
  with pytest.raises(ConnectionError):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=())
  site.files["a.bin"] += b"more"
  site.lies = {"Content-Range": "bytes 1000-16383/16384"}
  with pytest.raises(ConnectionError, match="sent more than the 16384 bytes that it announced"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert names(tmp_path) == []


def test_what_the_server_refuses_is_said_in_a_sentence(site, tmp_path):
  with pytest.raises(
    ConnectionError, match=r"b\.bin can't be had: the server answers 404 Not Found"
  ):
    transfer.fetch(site.url("b.bin"), tmp_path / "b.bin")
  site.statuses = [503]
  with pytest.raises(ConnectionError, match="answers 503 Service Unavailable; run the same"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  site.lies = {"Content-Type": "text/html; charset=utf-8"}
  with pytest.raises(ConnectionError, match="answered with a web page instead of the file"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert names(tmp_path) == []


def test_a_server_that_is_busy_for_a_while_is_asked_again(site, tmp_path):
  site.cuts, site.statuses = [1000], [None, 503]
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin", delays=(0, 0))
  assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_without_a_network_it_says_so_at_once(tmp_path):
  with pytest.raises(ConnectionError, match=r"can't be reached \(.*refused\)"):
    transfer.fetch("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", delays=(1e6,))


def test_a_disk_without_room_is_found_before_anything_comes(site, tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  with pytest.raises(OSError, match=r"needs 16384 bytes more; .* has 1000 free"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert not (tmp_path / "a.bin.part").exists()


def test_a_disk_that_fills_up_loses_nothing(site, tmp_path):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
  try:
    with pytest.raises(OSError, match=r"a\.bin\.part can't be written; is the disk full\?"):
      transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  held = (tmp_path / "a.bin.part").stat().st_size
  assert held <= 5000
  transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("beside", [None, '{"name": "mine"}'])
def test_a_part_that_was_not_begun_here_stays(site, tmp_path, beside):
  (tmp_path / "a.bin.part").write_bytes(b"of a browser")
  if beside:
    (tmp_path / "a.bin.part.json").write_text(beside)
  with pytest.raises(InputError, match=r"a\.bin\.part was not begun here; move it away"):
    transfer.fetch(site.url("a.bin"), tmp_path / "a.bin")
  assert (tmp_path / "a.bin.part").read_bytes() == b"of a browser"
  assert site.asked == []
