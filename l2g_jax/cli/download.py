"""Fetches published data sets and weights; an interrupted download goes on where it stopped.

  l2g download roxford5k|rparis6k|revisitop1m|weights [--data_root=DIR]

Data sets get the layout that the experiments read. What is there is verified by the checksums that
were recorded when it came, and only what is missing is fetched. revisitop1m is a million images in
100 archives.
"""

from absl import flags

from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.data import download
from l2g_jax.errors import InputError
from l2g_jax.interop import checkpoints


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("data_root", "data", "Folder that holds data sets.", flag_values=values)
  flags.DEFINE_string(
    "mirror",
    None,
    "Address of a folder with the same files; omitted: the official one.",
    flag_values=values,
  )
  flags.DEFINE_bool(
    "keep_archives", False, "Keep archives after they are unpacked.", flag_values=values
  )
  flags.DEFINE_bool(
    "verify",
    True,
    "Compare the checksums of files that are there, not only their sizes.",
    flag_values=values,
  )


_FLICKR = "The images are from Flickr, whose terms of use apply to them."
_CVNET = "https://drive.google.com/drive/folders/1gMbZ8JlTyPlH2-6HW5NHRe58LmKfJybx"
_NOTICES = {
  "roxford5k": _FLICKR,
  "rparis6k": _FLICKR,
  "weights": (
    f"{checkpoints.MODELS['fire'].notice}\n"
    f"{checkpoints.MODELS['superglobal'].notice}\n"
    f"CVNet's are handed out to browsers only, at {_CVNET}.\n"
    "Next: l2g convert --model=fire --checkpoint=fire.pth"
    " --output=fire.safetensors"
  ),
}


def main(values: Values, name: str) -> None:
  """Fetches a data set or weights, and says where they are."""
  if name not in download.SOURCES:
    raise InputError(f"{name!r} is none of {', '.join(download.SOURCES)}.")
  folder = download.obtain(
    download.SOURCES[name],
    values.data_root,
    mirror=values.mirror,
    keep_archives=values.keep_archives,
    verify=values.verify,
    show_progress=True,
  )
  print(f"{name} is whole, in {folder}")
  if name in _NOTICES:
    print(_NOTICES[name])


COMMAND = Command(
  "download", __doc__, [Group("Download", _define)], main, argument="|".join(download.SOURCES)
)
