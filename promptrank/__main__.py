"""``python -m promptrank``."""

from promptrank.cli.main import main

if __name__ == "__main__":
    main()
