"""`python -m composir`, and so `torchrun -m composir train RUN.toml`."""

from composir.cli.main import run

if __name__ == "__main__":
    run()
