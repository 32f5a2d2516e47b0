"""Fetches published data sets and weights; what was interrupted goes on where it stood.

  python -m experiments.download roxford5k|rparis6k|revisitop1m|weights [--data_root=DIR]

Data sets get the layout that the experiments read. What is there is verified by the checksums that
were recorded when it came, and only what is missing is fetched. revisitop1m is a million images in
100 archives.
"""

from absl import flags

from l2g_jax.data import download
from l2g_jax.errors import InputError
from l2g_jax.interop import checkpoints

FLAGS = flags.FLAGS
flags.DEFINE_string("data_root", "data", "Folder that holds data sets.")
flags.DEFINE_string("mirror", None, "Address of a folder with the same files; omitted: official.")
flags.DEFINE_bool("keep_archives", False, "Whether archives stay after they are unpacked.")
flags.DEFINE_bool("verify", True, "Whether checksums of what is there are compared, or just sizes.")

_FLICKR = "The images are from Flickr, whose terms of use apply to them."
_CVNET = "https://drive.google.com/drive/folders/1gMbZ8JlTyPlH2-6HW5NHRe58LmKfJybx"
_NOTICES = {
  "roxford5k": _FLICKR,
  "rparis6k": _FLICKR,
  "weights": (
    f"{checkpoints.MODELS['fire'].notice}\n"
    f"{checkpoints.MODELS['superglobal'].notice}\n"
    f"CVNet's are handed out to browsers only, at {_CVNET}.\n"
    "Next: python -m experiments.convert --model=fire --checkpoint=fire.pth"
    " --output=fire.safetensors"
  ),
}


def main(name: str) -> None:
  """Fetches what is named and says where it is."""
  if name not in download.SOURCES:
    raise InputError(f"{name!r} is none of {', '.join(download.SOURCES)}.")
  folder = download.obtain(
    download.SOURCES[name],
    FLAGS.data_root,
    mirror=FLAGS.mirror,
    keep_archives=FLAGS.keep_archives,
    verify=FLAGS.verify,
    show_progress=True,
  )
  print(f"{name} is whole, in {folder}")
  if name in _NOTICES:
    print(_NOTICES[name])
