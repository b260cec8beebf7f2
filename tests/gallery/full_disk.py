"""Index a folder while no file may grow beyond a size, as on a full disk; arguments: folder, gallery, bytes."""

import resource
import signal
import sys

from composir.cli.main import run

if __name__ == "__main__":
    folder, gallery, most = sys.argv[1:]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), resource.RLIM_INFINITY))
    sys.argv = ["composir", "index", folder, "--gallery", gallery, "--backbone", "clip-tiny", "--workers", "0"]
    run()
