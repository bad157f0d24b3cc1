"""How fast: steps, streaming, where time goes, the lab."""
