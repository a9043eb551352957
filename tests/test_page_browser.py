"""The page of a report in a real browser: no sideways scrolling, styles that apply, a filter."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from promptrank.evaluation.page.page import page
from support.full_report import full_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
LOOK = """
const frame = document.querySelector("iframe"), page = frame.contentDocument;
const shown = (name) => [...page.querySelectorAll(name)].filter((e) => e.offsetParent).length;
const all = shown(".example");
page.getElementById("shown-chance").click();
const told = {
  wide: page.documentElement.scrollWidth, high: page.documentElement.scrollHeight,
  title: parseFloat(frame.contentWindow.getComputedStyle(page.querySelector("h1")).fontSize),
  family: frame.contentWindow.getComputedStyle(page.querySelector("h1")).fontFamily,
  all, chance: shown(".example"),
  small: [...page.querySelectorAll("svg.interval")].filter((e) => e.clientWidth < 60).length,
};
document.body.textContent = "TOLD" + JSON.stringify(told) + "DLOT";
"""


def seen_at(width: int, folder: Path) -> dict[str, Any]:
    """What a script sees of the page in a window of so many pixels."""
    outer = folder / "outer.html"
    # The frame is as wide as a phone is; a window of a browser without a head may not be.
    outer.write_text(
        f'<iframe width="{width}" height="800" style="border:0" srcdoc="'
        f'{html.escape(page(full_report()))}" onload="look()"></iframe>'
        f"<script>function look() {{ {LOOK} }}</script>",
        encoding="utf-8",
    )
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    run = subprocess.run(
        [*command, outer.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder)},
    )
    found = re.search(r"TOLD(.*)DLOT", run.stdout)
    assert found is not None, run.stdout[-500:] + run.stderr[-500:]
    return dict(json.loads(html.unescape(found[1])))


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="there is no Chromium here")
@pytest.mark.parametrize("width", [320, 375, 1280])
def test_the_page_fits_its_window(width: int, tmp_path: Path) -> None:
    told = seen_at(width, tmp_path)
    assert told["wide"] <= width
    assert told["high"] > 1000
    assert told["title"] >= 28 and "Georgia" in told["family"]  # the policy lets our styles in
    assert (told["all"], told["chance"]) == (2, 0)  # both examples are where rankers differ
    assert told["small"] == 0
