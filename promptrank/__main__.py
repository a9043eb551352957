"""``promptrank`` and ``python -m promptrank``: the program, which Ctrl-C ends even as it starts."""

import sys


def start() -> None:
    """Import the command line and run it."""
    try:
        from promptrank.cli.main import main
    except KeyboardInterrupt:
        from promptrank.basics.stopping import before_work

        sys.stderr.write(f"stopped; {before_work(sys.argv[1:])}\n")
        sys.exit(130)
    main()


if __name__ == "__main__":
    start()
