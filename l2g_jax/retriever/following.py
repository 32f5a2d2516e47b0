"""The index of a collection follows its images: new ones are added, old ones removed."""

import dataclasses
import pathlib

from l2g_jax.cann import CannConfig, CannIndex, exists
from l2g_jax.errors import InputError
from l2g_jax.features import whitening
from l2g_jax.features.store import FeatureStore
from l2g_jax.retriever import members as members_file
from l2g_jax.retriever import vocabulary
from l2g_jax.retriever.members import Members, write_members

WHITENING_SAMPLE = 200_000
# After changes to more than the first share of the images the index is compacted; after changes to
# more than the second, whitening, cells and vocabulary are learned anew.
_COMPACT_SHARE = 0.25
_LEARN_SHARE = 0.5
# Each addition is a segment, and its files stay open.
_MOST_SEGMENTS = 32


def open_index(
  directory: pathlib.Path, members: Members, *, verify: bool = False
) -> CannIndex | None:
  """Opens the index of a collection; None where there is none yet.

  Raises:
    InputError: a file of it is damaged.
  """
  path = members.path(directory, "index")
  return CannIndex.open(path, verify=verify) if exists(path) else None


def update_index(
  directory: pathlib.Path,
  members: Members,
  store: FeatureStore,
  config: CannConfig,
  *,
  whiten: bool,
  seed: int,
  in_order: bool,
  verify: bool = False,
) -> tuple[CannIndex, Members]:
  """Makes the index of a collection hold the images of a store; the caller holds the lock.

  Args:
    directory: of the collection.
    members: the known state of its index.
    store: the images, by name and key.
    config: of the index.
    whiten: whether descriptors are whitened, by a whitening learned from the store.
    seed: of the sample for it.
    in_order: whether the index must equal one that was just built from the store.
    verify: whether checksums are compared, not only sizes; a damaged index is built anew.

  Returns:
    The index, and its known state.
  """
  try:
    index = open_index(directory, members, verify=verify)
  except InputError as error:
    print(f"The index is built anew: {error}")
    index = None
  if index is None:
    return _build(directory, members, store, config, whiten=whiten, seed=seed)
  wanted = dict(zip(store.names, store.keys, strict=True))
  kept = {
    name: members.keys[name]
    for name in index.names
    if name in members.keys and members.keys[name] == wanted.get(name)
  }
  stale = [name for name in index.names if name not in kept]
  added = [number for number, name in enumerate(store.names) if name not in kept]
  num_changed = max(len(stale), len(added))
  if in_order:
    is_far = index.names != store.names or num_changed > 0
  else:
    is_far = members.num_changes + num_changed > _LEARN_SHARE * len(wanted)
  if is_far:
    return _build(directory, members, store, config, whiten=whiten, seed=seed)
  if num_changed:
    members = write_members(
      directory,
      dataclasses.replace(
        members,
        keys=kept,
        state=None,
        list_lengths=(),
        num_changes=members.num_changes + num_changed,
        num_loose=members.num_loose + num_changed,
        num_segments=members.num_segments + bool(added),
      ),
    )
    if stale:
      index = index.remove(stale)
    if added:
      learned = whitening.Whitening.from_note(index.whitening)
      index = index.add(
        (store.names[number], vocabulary.described(learned, store[number].descriptors))
        for number in added
      )
  if members.num_loose > _COMPACT_SHARE * len(wanted) or members.num_segments > _MOST_SEGMENTS:
    index = index.compact()
    members = dataclasses.replace(members, num_loose=0, num_segments=0)
  return index, _enter(directory, members, index, store)


def _build(
  directory: pathlib.Path,
  members: Members,
  store: FeatureStore,
  config: CannConfig,
  *,
  whiten: bool,
  seed: int,
) -> tuple[CannIndex, Members]:
  """Builds a new index beside the old one, and removes the old one when the new one is whole."""
  # Removes the remains of builds that were killed.
  members_file.remove_other_generations(directory, members)
  members = Members(generation=members.generation + 1, keys={}, state=None)
  learned = None
  if whiten:
    learned = whitening.fit_whitening(store.sample_descriptors(WHITENING_SAMPLE, seed=seed))
  index = CannIndex.build(
    members.path(directory, "index"),
    ((name, vocabulary.described(learned, values)) for name, values in store),
    config,
    whitening=None if learned is None else learned.to_note(),
  )
  members = _enter(directory, members, index, store)
  members_file.remove_other_generations(directory, members)
  return index, members


def _enter(
  directory: pathlib.Path, members: Members, index: CannIndex, store: FeatureStore
) -> Members:
  """Records that the index holds the images of the store."""
  complete = dataclasses.replace(
    members,
    keys=dict(zip(store.names, store.keys, strict=True)),
    state=index.state,
    list_lengths=members.list_lengths if members.state == index.state else (),
    failures=dict(store.failures),
  )
  return complete if complete == members else write_members(directory, complete)
