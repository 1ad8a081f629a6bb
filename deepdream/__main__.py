"""`python -m deepdream`, the same as the command `deepdream`."""

import sys

from .cli import main

sys.exit(main())
