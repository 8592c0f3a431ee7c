"""`python -m tuneoff`: the same as the command `tuneoff`."""

from tuneoff.cli import main

if __name__ == "__main__":
    main()
