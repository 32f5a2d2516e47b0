"""Makes weights of ours from a published PyTorch checkpoint; PyTorch is not needed.

l2g convert --model=superglobal --checkpoint=CVNet.pyth --output=sg.safetensors
l2g convert --model=fire --checkpoint=fire.pth --output=fire.safetensors
l2g convert --model=aliked --checkpoint=aliked-n16.pth --output=aliked.safetensors
l2g convert --model=ames --checkpoint=dinov2_ames.pt --output=ames.safetensors

The weights keep their authors' terms. FIRe: CC BY-NC-SA 4.0, not for commercial use. CVNet, whose
weights SuperGlobal uses: no licence is stated. ALIKED: BSD-3-Clause. EfficientNet-Lite0 and AMES:
Apache-2.0. Those of ALIKED and Lite0 need no conversion: the commands read the published files.
"""

import pathlib

from absl import flags

from l2g_jax.cli.command import Command, Group, Values, check_file
from l2g_jax.errors import InputError
from l2g_jax.features.weights import is_weights
from l2g_jax.interop import checkpoints


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    "model",
    None,
    sorted(checkpoints.MODELS),
    "Network of the checkpoint.",
    flag_values=values,
  )
  flags.DEFINE_string("checkpoint", None, "The published file.", flag_values=values)
  flags.DEFINE_string("output", None, "File to write, NAME.safetensors.", flag_values=values)


def main(values: Values) -> None:
  """Converts and says on what terms the weights may be used."""
  output = values.output
  if pathlib.Path(output).suffix != ".safetensors":
    raise InputError("--output must name the file to write, NAME.safetensors.")
  check_file(output, is_weights)
  notice = checkpoints.convert(values.model, values.checkpoint, output)
  print(f"{output}: weights of {values.model}, from {values.checkpoint}")
  print(f"Terms: {notice}")


COMMAND = Command(
  "convert",
  __doc__,
  [Group("Conversion", _define)],
  main,
  required=("model", "checkpoint", "output"),
)
