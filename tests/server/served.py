"""A server over the fake service, as a program that tests send signals to; arguments: folder, slowness, drain."""

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    spec = importlib.util.spec_from_file_location("composir_server_fakes", Path(__file__).with_name("fakes.py"))
    fakes = importlib.util.module_from_spec(spec)
    sys.modules["composir_server_fakes"] = fakes
    spec.loader.exec_module(fakes)
    from composir.server import serve
    from composir.server.settings import Settings

    service = fakes.FakeService(Path(sys.argv[1]), slow=float(sys.argv[2]))
    serve(Settings(port=0, decode_workers=1, drain_seconds=float(sys.argv[3])), service)
    print("closed" if service.closed else "left open", flush=True)


if __name__ == "__main__":
    main()
