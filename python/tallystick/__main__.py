"""``python -m tallystick`` is the command line."""

from tallystick.cli.start import run

if __name__ == "__main__":
    run()
