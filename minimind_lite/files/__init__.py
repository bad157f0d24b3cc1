"""Everything that touches the disk: shipped files, models, run folders, the cache, provenance."""
