"""The flag of a folder of photographs, and the folder made ready by it."""

from absl import flags

from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.feature_flags import read_features
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.cli.work_flags import work_folder
from l2g_jax.data.photo_folders import describe_left_out, find_photographs
from l2g_jax.retriever import Retriever


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("images", None, "Folder of photographs.", flag_values=values)


COLLECTION = Group("Photographs", _define)


def open_folder(values: Values) -> Retriever:
  """Makes the folder of --images ready, with the defaults of a search; says what it leaves out.

  Raises:
    InputError: the folder can't be used.
  """
  # A folder that can't be used is told before the work, and before a folder is made.
  find_photographs(values.images)
  features = read_features(values)
  with settings_as_flags():
    retriever = Retriever.open_or_build(
      values.images,
      work_folder(values),
      features=features,
      seed=values.seed,
      verify=values.verify,
    )
  if left_out := retriever.images.left_out:
    print(f"Left out: {describe_left_out(left_out)}.")
  return retriever
