"""Makes weights of ours from a published PyTorch checkpoint; PyTorch is not needed.

python -m experiments.convert --model=superglobal --checkpoint=CVNet.pyth --output=sg.safetensors
python -m experiments.convert --model=fire --checkpoint=fire.pth --output=fire.safetensors

The weights keep their authors' terms. FIRe: CC BY-NC-SA 4.0, not for commercial use. CVNet, whose
weights SuperGlobal uses: no licence is stated.
"""

import pathlib

from absl import flags

from l2g_jax.cli import command
from l2g_jax.errors import InputError
from l2g_jax.interop import checkpoints

FLAGS = flags.FLAGS
flags.DEFINE_enum(
  "model", None, sorted(checkpoints.MODELS), "What the checkpoint is of.", required=True
)
flags.DEFINE_string("checkpoint", None, "The published file.", required=True)


def main() -> None:
  """Converts and says on what terms the weights may be used."""
  output = command.OUTPUT.value
  if not output or pathlib.Path(output).suffix != ".safetensors":
    raise InputError("--output must name the file to write, NAME.safetensors.")
  notice = checkpoints.convert(FLAGS.model, FLAGS.checkpoint, output)
  print(f"{output}: weights of {FLAGS.model}, from {FLAGS.checkpoint}")
  print(f"Terms: {notice}")
