"""`python -m llamaduo_tui` is `llamaduo-tui`."""

from llamaduo_tui.cli.main import main

if __name__ == "__main__":
    main(prog_name="llamaduo-tui")
