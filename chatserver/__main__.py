"""``python -m chatserver``: the same as the command ``chatserver``."""

from chatserver.cli import main

if __name__ == "__main__":
    main()
