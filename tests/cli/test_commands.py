import concurrent.futures
import json
import os
import pickle
import shutil

import pytest
from PIL import Image

from experiments import roxf, rpar
from l2g_jax.cli import convert_ground_truth, index, search
from tests.cli import toy

PROTOCOLS = ("easy", "medium", "hard")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
  return toy.write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  return tmp_path_factory.mktemp("work")


def test_roxf_prints_and_writes_every_row_and_reuses_what_it_made(data_root, work):
  flags = [f"--data_root={data_root}", "--dataset=toy", "--local=sift", "--k=700"]
  output = ("--w=0.19", "--output=report.json")
  first = toy.run("roxf", *flags, *output, cwd=work, as_usual=True)
  assert first.returncode == 0, first.stderr
  report = json.loads((work / "report.json").read_text())
  rows = {row["name"]: row for row in report["rows"]}
  assert list(rows) == ["global", "global+rerank", "chamfer", "l2g", "l2g-default"]
  assert rows["l2g"]["w"] == 0.19
  for row in rows.values():
    for protocol in PROTOCOLS:
      assert set(row[protocol]) == {"map", "mp1", "mp5", "mp10"}
      assert all(0.0 <= value <= 100.0 for value in row[protocol].values())
  assert rows["chamfer"]["medium"]["map"] > 90.0
  assert report["config"]["k"] == 700
  assert report["environment"]["platform"] == "cpu"
  assert all(seconds >= 0.0 for seconds in report["seconds"].values())
  for text in ("toy: 16 images, 4 queries", "queries cropped: truncate", "l2g (w=0.19)", "mP@10"):
    assert text in first.stdout
  assert max(map(len, first.stdout.splitlines())) <= 120

  made = {path: path.stat().st_mtime_ns for path in work.rglob("manifest.json")}
  arguments = [*flags, f"--work_dir={work / 'work'}", f"--output={work / 'again.json'}"]
  roxf.COMMAND.run(arguments=arguments)
  assert {path: path.stat().st_mtime_ns for path in work.rglob("manifest.json")} == made
  again = {row["name"]: row for row in json.loads((work / "again.json").read_text())["rows"]}
  # Without --w the only row of L2G is the one at the default.
  assert list(again) == ["global", "global+rerank", "chamfer", "l2g"]
  assert again["l2g"] == {**rows["l2g-default"], "name": "l2g"}
  assert again["chamfer"] == rows["chamfer"]


@pytest.fixture(scope="module")
def photographs(data_root, tmp_path_factory):
  """The images of the data set, and a file that is none."""
  folder = tmp_path_factory.mktemp("photographs") / "jpg"
  shutil.copytree(data_root / "toy" / "jpg", folder)
  (folder / "broken.jpg").write_bytes(b"no image")
  return folder


def test_a_folder_is_made_ready_for_searches(photographs, work, capsys):
  values, _ = index.COMMAND.parse([str(photographs), "--local=sift", f"--work_dir={work / 'work'}"])
  index.COMMAND.main(values)
  printed = capsys.readouterr().out
  assert "21 photographs are ready for searches, 20 of them with local features" in printed
  assert f"l2g search {photographs} PHOTO" in printed


def test_search_prints_a_ranking_and_draws_it(photographs, work, monkeypatch, capsys):
  monkeypatch.chdir(work)
  words = (str(photographs), str(photographs / "query-2.jpg"), "--local=sift", "--num_results=5")
  files = ("--contact_sheet=sheet.png", "--output=results.html", "--json")
  search.COMMAND.run(arguments=[*words, "--box=20,10,300,220", *files])
  printed = capsys.readouterr()
  # What is no result is told beside the output.
  assert "Contact sheet: sheet.png" in printed.err
  results = json.loads(printed.out)["results"]
  assert [entry["rank"] for entry in results] == [1, 2, 3, 4, 5]
  # The same picture as the query's; of equals the first by name.
  assert results[0]["name"] == "image-2-0"
  assert results[0]["chamfer_rank"] == results[0]["global_rank"] == 1
  assert {entry["name"] for entry in results} == {"query-2", *(f"image-2-{i}" for i in range(4))}
  with Image.open(work / "sheet.png") as sheet:
    assert sheet.format == "PNG"
    assert sheet.width > 1000
  page = (work / "results.html").read_text()
  assert page.count("data:image/jpeg;base64,") == 6
  assert "<polygon points=" in page
  assert page.index("image-2-0") < page.index("image-2-3")


def search_folder(folder, query, output, cwd):
  files = [f"--images={folder}", f"--query={query}", f"--output={output}"]
  return toy.run("search", *files, "--local=sift", cwd=cwd)


def test_of_two_first_searches_one_builds_and_both_answer(photographs, tmp_path):
  # Of one name, size and time.
  queries = [tmp_path / str(number) / "query.bmp" for number in (1, 3)]
  for query in queries:
    query.parent.mkdir()
    with Image.open(photographs / f"query-{query.parent.name}.jpg") as image:
      image.save(query)
    os.utime(query, ns=(10**18, 10**18))
  with concurrent.futures.ThreadPoolExecutor() as pool:
    ended = list(
      pool.map(
        lambda query: search_folder(photographs, query, query.with_suffix(".json"), tmp_path),
        queries,
      )
    )
  for result, query in zip(ended, queries, strict=True):
    assert result.returncode == 0, result.stderr
    first = json.loads(query.with_suffix(".json").read_text())["results"][0]["name"]
    assert first.split("-")[1] == query.parent.name
  waited = [result for result in ended if "Another process is making" in result.stderr]
  assert all("waiting until it is done" in result.stderr for result in waited)
  (made,) = (tmp_path / "work").glob("folder-*/collection-*")
  # Had both built, there would be two generations.
  assert [path.name for path in made.glob("index-*")] == ["index-000001"]


def test_a_ground_truth_is_converted(data_root, work, capsys):
  content = json.loads((data_root / "toy" / "gnd_toy.json").read_text())
  (work / "gnd.pkl").write_bytes(pickle.dumps(content, protocol=2))
  toy.call(convert_ground_truth.COMMAND, input=work / "gnd.pkl", output=work / "gnd.json")
  assert "16 images, 4 queries" in capsys.readouterr().out
  assert json.loads((work / "gnd.json").read_text()) == content


class _Hostile:
  def __reduce__(self):
    return os.mkdir, ("executed",)


def test_a_pickle_that_executes_code_is_refused(work, monkeypatch):
  monkeypatch.chdir(work)
  (work / "hostile.pkl").write_bytes(pickle.dumps({"imlist": _Hostile()}))
  flags = (f"--input={work / 'hostile.pkl'}", f"--output={work / 'x.json'}")
  assert "asks for" in toy.refused(convert_ground_truth.COMMAND, *flags)
  assert not (work / "executed").exists()
  assert not (work / "x.json").exists()


@pytest.mark.parametrize(
  ("module", "flags", "message"),
  [
    (roxf, ["--data_root=nowhere"], "There is no data set roxford5k in nowhere"),
    (rpar, ["--dataset=other"], "There is no data set other"),
    (roxf, ["--w=1.5"], "--w must be between 0 and 1, not 1.5"),
    (search, ["--images=nowhere", "--query=nothing.jpg"], "There is no image at nothing.jpg"),
  ],
)
def test_what_can_not_be_done_is_said_in_a_sentence(tmp_path, monkeypatch, module, flags, message):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit, match=f"^Error: {message}"):
    module.COMMAND.run(arguments=flags)
  assert not [*tmp_path.rglob("*.json")]
