"""``python cli.py`` from a checkout is the installed ``eventnet`` command."""

from eventnet.__main__ import main

if __name__ == "__main__":
    main()
