"""`python -m minimind_lite`: see `cli`."""

import sys

from minimind_lite.cli import main

sys.exit(main())
