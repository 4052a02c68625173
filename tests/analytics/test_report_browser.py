"""The HTML report in a browser: nothing is clipped, nothing is requested, and there is no barrier for anybody."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path

import pytest

from tests.browser import Browser, Tab
from tests.made_up_pages import HOSTILE, hostile_page, ordinary_page
from tests.selection import some

pytestmark = [pytest.mark.needs("chromium", "package:axe_core_python"), pytest.mark.timeout(600)]

PHONE, DESKTOP = 375, 1_280


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write an ordinary and a hostile page."""
    folder = tmp_path_factory.mktemp("pages")
    for name, page in (("ordinary", ordinary_page()), ("hostile", hostile_page())):
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in ("ordinary", "hostile")}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser.start(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Keep one event loop for the open pages."""
    return "asyncio"


@pytest.fixture(scope="module")
async def tabs(browser: Browser, pages: dict[str, Path]) -> AsyncIterator[dict[str, Tab]]:
    """Open both pages once: loading costs more than what is measured on them."""
    async with AsyncExitStack() as opened:
        yield {
            name: await opened.enter_async_context(browser.open(path, width=DESKTOP)) for name, path in pages.items()
        }


# Texts outside their box or the window, and labels of a chart that touch.
MISPLACED = """(() => {
  const found = [];
  // Heads of tables whose rows are blocks on a phone; they are for screen readers.
  document.querySelectorAll('thead').forEach(
    one => one.classList.toggle('hidden-head', getComputedStyle(one).position === 'absolute'));
  const inside = (inner, outer) => inner.left >= outer.left - 1.5 && inner.right <= outer.right + 1.5;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.data.trim()) continue;
    range.selectNodeContents(node);
    if (node.parentElement.closest('.hidden-head')) continue;
    const box = node.parentElement.closest('td, th, p, li, dd, dt, h1, h2, h3, summary, svg').getBoundingClientRect();
    for (const rect of range.getClientRects()) {
      if (!rect.width) continue;
      seen += 1;
      const window_ = {left: 0, right: innerWidth};
      if (!inside(rect, box) || !inside(rect, window_)) found.push(node.data.slice(0, 60));
    }
  }
  for (const chart of document.querySelectorAll('svg')) {
    const labels = [...chart.querySelectorAll('text')].map(one => [one.textContent, one.getBoundingClientRect()]);
    labels.filter(([, box]) => box.width).forEach(([text, box], place, all) => {
      if (box.top < chart.getBoundingClientRect().top - 2) found.push(`above: ${text}`);
      for (const [other, its] of all.slice(place + 1)) {
        const across = box.left < its.right && its.left < box.right;
        if (across && box.top + 2 < its.bottom && its.top + 2 < box.bottom) found.push(`${text} touches ${other}`);
      }
    });
  }
  return {found, seen, width: document.documentElement.scrollWidth};
})()"""


async def open_details(tab: Tab) -> None:
    await tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


@pytest.mark.parametrize("width", [PHONE, 800, DESKTOP])
@pytest.mark.parametrize("name", ["ordinary", "hostile"])
async def test_no_text_is_clipped_and_nothing_scrolls_sideways(tabs: dict[str, Tab], name: str, width: int) -> None:
    tab = tabs[name]
    await tab.show(width=width)
    await open_details(tab)
    measured = await tab.evaluate(MISPLACED)

    assert measured["found"] == []
    assert measured["width"] == width
    assert measured["seen"] > 500


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    some([("ordinary", PHONE, True), ("hostile", DESKTOP, False), ("hostile", PHONE, True)], every=3),
)
async def test_axe_finds_no_barrier(tabs: dict[str, Tab], name: str, width: int, *, dark: bool) -> None:
    axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    tab = tabs[name]
    await tab.show(width=width, dark=dark)
    await open_details(tab)
    await tab.evaluate(f"{axe}; 0")
    found = json.loads(await tab.evaluate("axe.run({resultTypes: ['violations']}).then(JSON.stringify)"))

    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert len(found["passes"]) > 15


CONTRAST = """(() => {
  const channel = part => { part /= 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4 };
  const light = colour => {
    const [red, green, blue] = colour.match(/[0-9.]+/g).map(Number).map(channel);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  const contrast = one => {
    const its = light(getComputedStyle(one).fill);
    return (Math.max(its, page) + 0.05) / (Math.min(its, page) + 0.05);
  };
  const worst = kind => Math.min(...[...document.querySelectorAll(`svg ${kind}`)].map(contrast));
  const bars = [...document.querySelectorAll('svg path:not([fill-opacity])')].filter(
    one => (one.getAttribute('fill') || '').startsWith('var('));
  return [worst('text'), Math.min(...bars.map(contrast)), bars.length];
})()"""


@pytest.mark.parametrize("dark", [False, True])
async def test_charts_can_be_seen_in_both_themes(tabs: dict[str, Tab], *, dark: bool) -> None:
    tab = tabs["ordinary"]
    await tab.show(width=DESKTOP, dark=dark)
    text, bar, bars = await tab.evaluate(CONTRAST)

    assert text >= 4.5  # WCAG 2.2, 1.4.3
    assert bar >= 3  # 1.4.11
    assert bars > 20


@pytest.mark.parametrize("name", ["ordinary", "hostile"])
async def test_nothing_is_requested_and_nothing_runs(tabs: dict[str, Tab], pages: dict[str, Path], name: str) -> None:
    tab = tabs[name]
    await tab.show(width=DESKTOP)
    title, scripts, size = await tab.evaluate(
        "[document.title, document.scripts.length, getComputedStyle(document.querySelector('h1')).fontSize]"
    )
    logged = [facts["entry"]["text"] for event, facts in tab.events if event == "Log.entryAdded"]

    assert tab.requests == [pages[name].as_uri()]
    assert (title, scripts) == ("Calls and costs" if name == "ordinary" else f"NOT certified: {HOSTILE[0]}", 0)
    assert size == "30px"  # the policy admits the page's own style
    assert logged == []


async def test_the_policy_of_the_page_would_stop_a_script(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    changed = tmp_path / "changed.html"
    attack = "<script>document.title = 'run'</script><img src='http://127.0.0.1:9/x'></main>"
    changed.write_text(pages["ordinary"].read_text(encoding="utf-8").replace("</main>", attack), encoding="utf-8")
    async with browser.open(changed, width=DESKTOP) as tab:
        title = await tab.evaluate("document.title")
        blocked = [facts.get("blockedReason") for event, facts in tab.events if event == "Network.loadingFailed"]

    assert title == "Calls and costs"
    assert blocked == ["csp"]
    assert tab.requests[1:] == ["http://127.0.0.1:9/x"]  # it was asked for, and did not leave
