"""The door to files on disk: each is whole or absent, known by its checksum, removed only if ours.

`atomic` writes files whole, `manifests` and `bundles` give them checksums, `locks` lets processes
take turns, and `removal` knows what is ours.
"""

from l2g_jax.runtime.atomic import atomic_path, sync_directory, target_of, workplace
from l2g_jax.runtime.bundles import Bundle, Stream, load_bundle, save_bundle, verify_bundle
from l2g_jax.runtime.digests import checksum_file, checksum_json
from l2g_jax.runtime.limits import allow_open_files, is_file
from l2g_jax.runtime.locks import LOCK, locked
from l2g_jax.runtime.manifests import MANIFEST, read_manifest, write_json, write_manifest
from l2g_jax.runtime.removal import remove_leftovers, remove_ours

__all__ = [
  "LOCK",
  "MANIFEST",
  "Bundle",
  "Stream",
  "allow_open_files",
  "atomic_path",
  "checksum_file",
  "checksum_json",
  "is_file",
  "load_bundle",
  "locked",
  "read_manifest",
  "remove_leftovers",
  "remove_ours",
  "save_bundle",
  "sync_directory",
  "target_of",
  "verify_bundle",
  "workplace",
  "write_json",
  "write_manifest",
]
