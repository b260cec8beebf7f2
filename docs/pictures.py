"""Draw docs/wardrobe.png, take docs/demo.png from the demo's answers and docs/page.png of the page over its gallery.

python docs/pictures.py [CHROMIUM]

Needs `composir demo` to have run in the root of the repository, the dev extra, and a Chromium, Debian's if not named.
"""

import io
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from composir.datasets.wardrobe import Wardrobe

SIDE, GAP, FAMILIES = 84, 6, 6
PORT, REFERENCE = 8765, "test-00000-0.png"
FOUND = "document.querySelectorAll('.card:not(.skeleton)').length > 8"


def wardrobe_sheet() -> Image.Image:
    """Six families of the test split in both styles, side by side."""
    step = SIDE + GAP
    sheet = Image.new("RGB", (12 * step + 5 * GAP, FAMILIES * step + GAP), "white")
    for column, style in ((0, "photo"), (6, "synthetic")):
        data = Wardrobe(image_size=2 * SIDE, style=style)
        for number, image_id in enumerate(data.ids("test")[: FAMILIES * 6]):
            family, member = divmod(number, 6)
            picture = data.image(image_id).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            left = GAP + (column + member) * step + (3 * GAP if column else 0)
            sheet.paste(picture, (left, GAP + family * step))
    return sheet


def page(root: Path, chromium: str) -> Image.Image:
    """The page after two steps from one of the garments of the demo."""
    command = [sys.executable, "-m", "composir", "serve", "--gallery", "demo/gallery", "--judgements", "none"]
    url = f"http://127.0.0.1:{PORT}"
    with subprocess.Popen([*command, "--port", str(PORT)], cwd=root, stderr=subprocess.DEVNULL) as server:
        try:
            await_ready(f"{url}/readyz")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                tab = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
                tab.goto(url)
                tab.set_input_files("input[type=file]", root / "demo" / "pictures" / REFERENCE)
                for words in ("has no sleeves", "is green and has short sleeves"):
                    tab.wait_for_timeout(1500)
                    tab.fill("#words", words)
                    tab.press("#words", "Enter")
                    tab.wait_for_function(f"() => {FOUND}")
                tab.evaluate("document.activeElement.blur()")
                tab.wait_for_load_state("networkidle")
                tab.wait_for_timeout(1500)
                shot = tab.screenshot()
                browser.close()
        finally:
            server.terminate()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def await_ready(url: str) -> None:
    """Until the server answers, a minute at most."""
    for _ in range(120):
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"{url} does not answer")


if __name__ == "__main__":
    docs = Path(__file__).parent
    chromium = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/chromium"
    page(docs.parent, chromium).quantize(256).save(docs / "page.png", optimize=True)
    wardrobe_sheet().save(docs / "wardrobe.png", optimize=True)
    with Image.open(docs.parent / "demo" / "answers.png") as answers:
        answers.convert("RGB").quantize(256).save(docs / "demo.png", optimize=True)
