"""`python -m inference_backend` is `gentg`."""

import sys

from inference_backend.cli import main

if __name__ == "__main__":
    sys.exit(main())
