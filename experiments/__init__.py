"""Command-line programs: flags, a call into l2g_jax, a report."""
