"""Makes the screenshots of the README anew, with the sample's index.

In the checkout, with Chromium: ``PYTHONPATH=.:tests python screenshots/make.py``
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import chromium
from chromium import Visitor

from extrapypi import passwords

PAGES = {  # name of the picture -> page, and how much of it in pixels
    "packages": ("/dashboard/", 780),
    "project": ("/dashboard/packages/tidewater/", 780),
    "journal": ("/dashboard/journal/", 780),
    "tokens": ("/user/tokens", 1120),
}
SCHEMES = ("light", "dark")
WIDTH = 1280
PORT = 8000  # as on the pages of the README


def main() -> None:
    """Writes two pictures of each page beside this file."""
    passwords.COST = 4  # of a sample that lives for seconds
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium.server(Path(folder), port=PORT) as url,
        chromium.browser() as browser,
    ):
        visitor = Visitor(browser, url)
        visitor.log_in("ada")
        for name, (page, height) in PAGES.items():
            visitor.page.set_viewport_size({"width": WIDTH, "height": height})
            visitor.page.goto(page)
            for scheme in SCHEMES:
                visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                picture = Path(__file__).parent / f"{name}-{scheme}.png"
                visitor.page.screenshot(path=picture, animations="disabled", caret="hide")
        visitor.close()


if __name__ == "__main__":
    main()
