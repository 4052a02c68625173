"""`python3 -m aiosipcdr`: the same as the command `aiosipcdr`."""

from aiosipcdr.cli import main

if __name__ == "__main__":
    main()
