"""Entry point of `python -m ltrun`."""

from ltrun.cli import main

if __name__ == "__main__":  # not when a _target_ names this module
    main()
