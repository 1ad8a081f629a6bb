"""`python -m deepdream`, the same as the command `deepdream`."""

import sys

from .cli.main import main

sys.exit(main())
