"""The status page in a real browser: what is seen, on a wide screen and on a phone, and that nothing foreign runs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Page, opened
from tests.browser.scene import HOSTILE, INTEGRATIONS, looked_at, program
from tests.receiver.scene import Scene
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.skipif(program() is None, reason="there is no chromium on this machine")

WIDTHS = {"desktop": 1280, "tablet": 768, "phone": 390, "small phone": 320}

# Everything that reaches beyond the screen's edge, but what scrolls by itself.
OVERFLOWING = """[...document.querySelectorAll('body *')].filter(each => !each.closest('.scroll, svg')
  && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(each => each.outerHTML.slice(0, 200))"""

Looking = Callable[[Page], Awaitable[Any]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[str]:
    home = tmp_path_factory.mktemp("browser") / "dev"
    home.mkdir()
    with postgres.database() as dsn, closing(Scene(home, dsn)) as scene, looked_at(scene, HOSTILE) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def see(url: str, tmp_path: Path) -> Callable[..., Any]:
    """Looks at the page, and returns what the looking gives."""

    def see(looking: Looking, **how: Any) -> Any:
        async def look() -> Any:
            chromium = program()
            assert chromium
            async with opened(chromium, tmp_path / "profile") as page:
                await page.look_at(url, **how)
                return await looking(page)

        return asyncio.run(look())

    return see


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_everything_is_within_the_screen_at_every_width(see: Callable[..., Any], width: int) -> None:
    async def look(page: Page) -> Any:
        return (
            await page.js(OVERFLOWING),
            await page.js("document.documentElement.scrollWidth"),
            await page.js("document.body.innerText"),
            await page.js("[...document.querySelectorAll('.slots tbody td')].every(td => td.getClientRects().length)"),
        )

    overflowing, whole, text, all_seen = see(look, width=width)
    assert overflowing == []
    assert whole <= width
    assert all_seen
    for schema, name in INTEGRATIONS.items():
        assert name in text
        assert schema in text
    assert "all is well" in text
    assert "not a JSON object" in text


def test_a_hostile_reason_is_shown_as_text_and_does_nothing(see: Callable[..., Any]) -> None:
    async def look(page: Page) -> Any:
        return (
            await page.js("document.body.innerText"),
            await page.js("document.querySelectorAll('script, img').length"),
            await page.js("document.title"),
        )

    text, foreign, title = see(look)
    assert HOSTILE[:60] in text
    assert foreign == 0
    assert title == "Sluice dev"


def test_even_what_got_into_the_page_would_not_run_or_load(see: Callable[..., Any]) -> None:
    """The content policy on its own, for markup that no escape had caught."""
    planted = """new Promise(done => {
      const broken = [];
      document.addEventListener('securitypolicyviolation', each => broken.push(each.effectiveDirective));
      const script = document.createElement('script');
      script.textContent = "document.title = 'owned'";
      document.body.append(script);
      const holder = document.createElement('div');
      holder.innerHTML = `<img src="http://127.0.0.1:1/x" onerror="document.title='owned'"><p style="color:red">x</p>
        <iframe src="/metrics"></iframe><style>body { display: none }</style>`;
      document.body.append(holder);
      holder.querySelector('img').dispatchEvent(new Event('error'));
      fetch('/metrics').catch(() => 0);
      setTimeout(() => done([document.title, getComputedStyle(document.body).display,
        getComputedStyle(holder.querySelector('p')).color, [...new Set(broken)].sort().join(' ')]), 500);
    })"""

    async def look(page: Page) -> Any:
        return await page.js(planted)

    title, shown, colour, broken = see(look)
    assert title == "Sluice dev"
    assert shown == "block"
    assert colour != "rgb(255, 0, 0)"
    assert set(broken.split()) >= {
        *("script-src-elem", "script-src-attr", "style-src-attr", "style-src-elem", "img-src", "connect-src"),
        "frame-src",
    }


def test_the_page_itself_breaks_no_policy_and_its_style_applies(see: Callable[..., Any]) -> None:
    async def look(page: Page) -> Any:
        colour = await page.js("getComputedStyle(document.body).backgroundColor")
        bars = await page.js("document.querySelector('svg .taken').getBBox().width")
        return page.said, colour, bars

    said, light, bars = see(look)
    assert [each for each in said if "Content Security Policy" in each] == []
    assert light == "rgb(245, 246, 248)"
    assert bars > 50
    _, dark, _ = see(look, scheme="dark")
    assert dark == "rgb(16, 19, 23)"


def test_it_renews_itself(see: Callable[..., Any]) -> None:
    async def look(page: Page) -> Any:
        await page.js("window.before = true")
        for _ in range(100):
            await asyncio.sleep(0.1)
            if not await page.js("window.before"):
                return True
        return False

    assert see(look)


class Outer(BaseHTTPRequestHandler):
    """A page of another port, which frames the address after its `?`, and may be framed itself."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        framed = self.path.partition("?")[2]
        self.wfile.write(f"<iframe src='{framed}'></iframe>".encode() if framed else b"<p>framed")

    def log_message(self, format: str, *args: object) -> None:
        return None


def test_another_page_can_not_frame_it(see: Callable[..., Any], url: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Outer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    outer = f"http://127.0.0.1:{server.server_port}/"

    async def look(page: Page) -> Any:
        framed = []
        for inner in (url, outer):
            await page.look_at(f"{outer}?{inner}")
            tree = await page.do("Page.getFrameTree")
            framed += [each["frame"]["url"] for each in tree["frameTree"]["childFrames"]]
        return framed

    try:
        assert see(look) == ["chrome-error://chromewebdata/", outer]
    finally:
        server.shutdown()
        server.server_close()
