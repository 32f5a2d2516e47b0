"""A local server of files that can fail in every way, and archives to serve."""

import dataclasses
import http.server
import io
import tarfile

CONTENT = bytes(range(256)) * 64
IMAGES = {"x/a.jpg": b"first", "x/b.jpg": b"second", "y/c.jpg": b"third" * 300}


@dataclasses.dataclass
class Site:
  """What a local server answers, and what it was asked."""

  address: str
  files: dict[str, bytes]
  tag: str | None = '"1"'
  ranges: bool = True
  checks_tag: bool = True
  # For each request, at how many bytes the connection is closed, or else with which status.
  cuts: list[int | None] = dataclasses.field(default_factory=list)
  statuses: list[int | None] = dataclasses.field(default_factory=list)
  lies: dict[str, str] = dataclasses.field(default_factory=dict)
  asked: list[tuple[str, str | None]] = dataclasses.field(default_factory=list)

  def url(self, name: str) -> str:
    return f"{self.address}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
  def __init__(self, site: Site, *args):
    self.site = site
    super().__init__(*args)

  def do_GET(self):
    site, wanted = self.site, self.headers.get("Range")
    name = self.path.rpartition("/")[2]
    site.asked.append((name, wanted))
    cut = site.cuts.pop(0) if site.cuts else None
    status = site.statuses.pop(0) if site.statuses else None
    if status or name not in site.files:
      self.send_error(status or 404)
      return
    body, headers = site.files[name], {"Content-Type": "application/octet-stream"}
    size, start = len(body), 0
    if site.tag:
      headers["ETag"] = site.tag
    if wanted and site.ranges and not (site.checks_tag and self.headers["If-Range"] != site.tag):
      start = int(wanted.removeprefix("bytes=").removesuffix("-"))
      headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    headers["Content-Length"] = str(size - start)
    self.send_response(206 if start else 200)
    for key, value in (headers | site.lies).items():
      self.send_header(key, value)
    self.end_headers()
    self.wfile.write(body[start:][:cut])

  def log_message(self, format, *args):
    pass


def names(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def pack(members):
  """Makes a `.tar.gz` of names and contents, or of members made ready."""
  stream = io.BytesIO()
  with tarfile.open(fileobj=stream, mode="w:gz") as tar:
    for name, content in members:
      if isinstance(content, tarfile.TarInfo):
        tar.addfile(content)
      else:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
  return stream.getvalue()
