"""The host below everything: files, locks, arrays, processes, threads and devices."""
