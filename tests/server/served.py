"""A server over the fake service, as a program that tests send signals to.

Arguments: folder, slowness, drain, and a file that opening the service waits for: what it says, if anything, is the
error of it.
"""

import importlib.util
import sys
import time
from pathlib import Path


def main() -> None:
    spec = importlib.util.spec_from_file_location("composir_server_fakes", Path(__file__).with_name("fakes.py"))
    fakes = importlib.util.module_from_spec(spec)
    sys.modules["composir_server_fakes"] = fakes
    spec.loader.exec_module(fakes)
    from composir.errors import ComposirError
    from composir.server import serve
    from composir.server.settings import Settings

    service = fakes.FakeService(Path(sys.argv[1]), slow=float(sys.argv[2]))

    def opened():
        gate = Path(sys.argv[4])
        while not gate.exists():
            time.sleep(0.02)
        if told := gate.read_text():
            raise ComposirError(told)
        return service

    settings = Settings(port=0, decode_workers=1, drain_seconds=float(sys.argv[3]))
    serve(settings, opened if len(sys.argv) > 4 else service)
    print("closed" if service.closed else "left open", flush=True)


if __name__ == "__main__":
    main()
