"""``python -m g3reduce`` is the same as the command ``g3reduce``."""

import sys

from .cli import main

sys.exit(main())
