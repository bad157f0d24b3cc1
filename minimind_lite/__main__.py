"""`python -m minimind_lite`: see `cli`."""

import signal
import sys

from minimind_lite.cli import main

signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as by Ctrl-C: keep the steps
sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # an ASCII terminal
sys.exit(main())
