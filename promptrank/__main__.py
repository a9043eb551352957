"""``promptrank`` and ``python -m promptrank``: the program, which Ctrl-C ends even as it starts."""

import sys


def start() -> None:
    """Import the command line and run it."""
    try:
        from promptrank.cli.main import main
    except KeyboardInterrupt:
        sys.stderr.write("stopped; nothing was written; the same command starts over\n")
        sys.exit(130)
    main()


if __name__ == "__main__":
    start()
