"""`/docs` in a browser that reaches only loopback: it delivers a team, and runs nothing from elsewhere.

In the network namespace: python -m tests.browser.test_explorer FOLDER
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import Browser, Page, Route

from tests.harness.browser import ARTIFACTS, ROOT, browsing, contacted, inside, started
from tests.harness.cluster import prepared
from tests.harness.documents import read_yaml
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver
from tests.harness.reviews import Permission
from tests.harness.service import Service, finished
from tests.harness.waiting import until
from tests.service.conftest import Bench
from tests.test_no_way_out import default_routes, put_up_loopback

DESCRIPTION = read_yaml(ROOT / "openapi/openapi.yaml")
OPERATIONS = {
    f"{method.upper()} {path}"
    for path, item in DESCRIPTION["paths"].items()
    for method in item
    if method in {"delete", "get", "patch", "post", "put"}
}

FOREIGN = {
    # What is planted in the page, and the directive that blocks it.
    "an inline script": (
        "const e = made('script'); e.text = 'window.injected = 1'; document.body.append(e)",
        "script-src-elem",
    ),
    "a script from elsewhere": (
        "const e = made('script'); e.src = 'https://foreign.test/x.js'; document.body.append(e)",
        "script-src-elem",
    ),
    "an inline handler": (
        "document.body.setAttribute('onclick', 'window.injected = 1'); document.body.click()",
        "script-src-attr",
    ),
    "an inline style": (
        "const e = made('style'); e.textContent = 'body { opacity: 0.5 }'; document.body.append(e)",
        "style-src-elem",
    ),
    "a style's attribute": (
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"opacity: 0.5\">x</p>')",
        "style-src-attr",
    ),
    "an image from elsewhere": ("new Image().src = 'https://foreign.test/x.png'", "img-src"),
    "a request to elsewhere": ("fetch('https://foreign.test/').catch(() => {})", "connect-src"),
    "a frame": (
        "const e = made('iframe'); e.src = location.href; document.body.append(e)",
        "frame-src",
    ),
    "another base": (
        "const e = made('base'); e.href = 'https://foreign.test/'; document.head.append(e)",
        "base-uri",
    ),
}
HOSTILE = (
    "Read **this**. <script>window.injected = 1</script>"
    '<img src="https://foreign.test/x.png" onerror="window.injected = 1">'
    "<iframe srcdoc='<script>parent.injected = 1</script>'></iframe> [here](javascript:window.injected=1)"
)


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui.js", "/docs/swagger-ui.css"])
async def test_the_page_and_its_parts_have_the_policy(path: str, bench: Bench) -> None:
    answer = await bench.service.request("GET", path)
    policy = dict(
        directive.split(" ", 1) for directive in answer.headers["content-security-policy"].split("; ")
    )
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'",) * 3
    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'",) * 3
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui.js"])
async def test_a_page_in_the_browser_s_cache_is_not_sent_again(path: str, bench: Bench) -> None:
    first = await bench.service.request("GET", path)
    known = {"If-None-Match": first.headers["etag"]}
    again = await bench.service.request("GET", path, headers=known)
    assert (again.status, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    changed = await bench.service.request("GET", path, headers={"If-None-Match": '"another"'})
    assert (changed.status, changed.content) == (200, first.content)
    head = await bench.service.request("HEAD", path)
    assert (head.status, head.content) == (200, b"")


pytestmark = pytest.mark.timeout(300)  # the first test waits until the page was used


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Open the page in a browser in the namespace, once."""
    return inside(__spec__.name, tmp_path_factory.mktemp("explorer"), seconds=250)


def test_the_namespace_has_no_route_out(seen: Any) -> None:
    assert seen["routes"] == []


def test_every_operation_is_shown(seen: Any) -> None:
    assert set(seen["operations"]) == OPERATIONS


def test_the_page_delivers_a_team(seen: Any) -> None:
    posted = seen["posted"]
    assert posted["status"] == "200"
    assert posted["report"]["phase"] == "Delivered"
    [body] = seen["received"]
    assert body["team"] == posted["report"]["team"] == "report"


def test_the_page_reads_a_report(seen: Any) -> None:
    assert seen["read"]["status"] == "200"
    assert seen["read"]["report"]["targets"] == seen["posted"]["report"]["targets"]


def test_a_token_is_required_and_stays_in_the_page(seen: Any) -> None:
    assert seen["without_token"]["status"] == "401"
    assert seen["stored"] == {"local": 0, "session": 0, "cookie": ""}


def test_a_page_below_a_path_prefix_sends_requests_below_it(seen: Any) -> None:
    called = [urlsplit(url).path for url in seen["used"]["requests"] if not url.startswith("data:")]
    assert "/teams/deliveries" in called
    assert all(path.startswith("/teams/") for path in called)


def test_the_page_has_no_error(seen: Any) -> None:
    used = seen["used"]
    assert (used["console"], used["errors"], used["violations"], used["refused"]) == ([], [], [], [])


@pytest.mark.parametrize(("part", "at"), [("used", "proxy"), ("tried", "url")])
def test_every_request_goes_to_the_service_itself(part: str, at: str, seen: Any) -> None:
    called = {urlsplit(url)[:2] for url in seen[part]["requests"] if not url.startswith("data:")}
    assert called == {urlsplit(seen[at])[:2]}


def test_the_browser_contacts_nothing_beyond_loopback(seen: Any) -> None:
    assert urlsplit(seen["url"]).netloc in seen["contacted"]
    assert not [address for address in seen["contacted"] if not address.startswith("127.0.0.1:")]


@pytest.mark.parametrize("what", FOREIGN)
def test_planted_content_is_blocked(what: str, seen: Any) -> None:
    assert FOREIGN[what][1] in [violation["directive"] for violation in seen["refused"][what]]


def test_blocked_content_has_no_effect(seen: Any) -> None:
    assert seen["after"] == {"injected": False, "opacity": "1", "base": seen["url"] + "/docs"}


def test_a_hostile_description_runs_nothing(seen: Any) -> None:
    assert "Read this." in seen["described"]["text"]
    assert not seen["described"]["injected"]
    assert not seen["described"]["dangerous"]


# ---------------------------------------------------------------------------------------------------------
# In the network namespace


async def execute(page: Page, operation: str, *, body: str = "", **parameters: str) -> dict[str, Any]:
    """Try an operation, and return the status and the report that the page shows."""
    block = page.locator(f"#operations-deliveries-{operation}")
    if not await block.locator(".opblock-body").count():
        await block.locator(".opblock-summary-control").click()
        await block.get_by_role("button", name="Try it out").click()
    if body:
        await block.locator("textarea.body-param__text").fill(body)
    for name, value in parameters.items():
        await block.locator(f"tr[data-param-name={name}] input").fill(value)
    async with page.expect_response(lambda response: "/deliveries" in response.url):
        await block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response")
    status = await live.locator(".response-col_status").inner_text()
    shown = await live.locator(".highlight-code code").first.inner_text()
    return {"status": status.split()[0], "report": json.loads(shown)}


async def authorize(page: Page, token: str) -> None:
    """Enter a token in the page."""
    await page.locator(".btn.authorize").click()
    dialog = page.locator(".dialog-ux")
    await dialog.locator("input").fill(token)
    await dialog.locator("button.authorize").click()
    await dialog.locator("button.btn-done").click()


async def opened(page: Page, url: str) -> None:
    """Open the page, and wait until it shows its operations."""
    await page.goto(f"{url}/docs")
    await page.locator(".opblock").nth(len(OPERATIONS) - 1).wait_for()


async def use(browser: Browser, url: str, token: str, namespace: str) -> dict[str, Any]:
    """Use the page as a person does, behind a proxy that serves it below a path."""
    body = json.dumps({"namespace": namespace, "team": "report"})
    async with behind_a_prefix(url) as proxy, browsing(browser) as (page, seen):
        await opened(page, proxy)
        blocks = page.locator(".opblock-summary")
        found = [
            f"{await block.locator('.opblock-summary-method').inner_text()} "
            f"{await block.locator('.opblock-summary-path').get_attribute('data-path')}"
            for block in await blocks.all()
        ]
        ARTIFACTS.mkdir(exist_ok=True)
        await page.screenshot(path=ARTIFACTS / "explorer.png")
        await authorize(page, token)
        posted = await execute(page, "deliver", body=body)
        read = await execute(page, "readDelivery", namespace=namespace, team="report")
        stored = await page.evaluate(
            "({local: localStorage.length, session: sessionStorage.length, cookie: document.cookie})"
        )
    told = {"operations": found, "posted": posted, "read": read, "stored": stored}
    return {"proxy": proxy, **told, "used": asdict(seen)}


@asynccontextmanager
async def behind_a_prefix(url: str) -> AsyncIterator[str]:
    """Serve the page below a path, and yield its address."""

    async def forward(request: web.Request) -> web.Response:
        given = {
            name: value
            for name, value in request.headers.items()
            if name in {"Authorization", "Content-Type"}
        }
        body = await request.read()
        async with (
            ClientSession() as session,
            session.request(
                request.method, url + request.match_info["path"], data=body, headers=given
            ) as answer,
        ):
            return web.Response(
                body=await answer.read(), status=answer.status, content_type=answer.content_type
            )

    proxy = web.Application()
    proxy.router.add_route("*", "/teams{path:/.*}", forward)
    runner = web.AppRunner(proxy)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/teams"
    finally:
        await runner.cleanup()


async def attack(browser: Browser, url: str, namespace: str) -> dict[str, Any]:
    """Open a description with planted scripts; plant foreign content in the page; call without a token."""

    async def planted(route: Route) -> None:
        answer = await route.fetch()
        document = await answer.json()
        document["info"]["description"] = HOSTILE
        document["paths"]["/deliveries"]["post"]["description"] = HOSTILE
        await route.fulfill(response=answer, json=document)

    refused = {}
    async with browsing(browser) as (page, seen):
        await page.route("**/openapi.json", planted)
        await opened(page, url)
        described = {
            "text": await page.locator(".info .description").inner_text(),
            "injected": await page.evaluate("'injected' in window"),
            "dangerous": await page.locator(
                "#explorer script, #explorer iframe, [onerror], a[href^='javascript:']"
            ).count(),
        }
        for what, (script, _) in FOREIGN.items():
            seen.violations.clear()
            await page.evaluate(f"() => {{ const made = (tag) => document.createElement(tag); {script} }}")
            with suppress(AssertionError):  # the test reports what was not blocked
                await until(lambda: seen.violations, 3)
            refused[what] = list(seen.violations)
        after = await page.evaluate(
            "({injected: 'injected' in window, opacity: getComputedStyle(document.body).opacity,"
            " base: document.baseURI})"
        )
        body = json.dumps({"namespace": namespace, "team": "report"})
        without_token = await execute(page, "deliver", body=body)
    told = {"described": described, "refused": refused, "after": after, "without_token": without_token}
    return {**told, "tried": asdict(seen)}


async def main(folder: Path) -> None:
    """Use the page and attack it, in one browser, and print what it shows."""
    async with (
        FakeCluster() as server,
        prepared(server, folder) as cluster,
        Receiver() as hook,
        Service(cluster.kubeconfig, auth="kubernetes") as service,
    ):
        namespace = await finished(cluster.kube, {"type": "webhook", "name": "archive", "url": hook.url})
        token = server.reviews.token(
            "system:serviceaccount:ops:person", Permission("create", namespace), Permission("get", namespace)
        )
        log = folder / "net-log.json"
        async with started(log) as browser:
            seen = {
                "routes": default_routes(),
                "url": service.url,
                **await use(browser, service.url, token, namespace),
                **await attack(browser, service.url, namespace),
                "received": [json.loads(request.body) for request in hook.requests],
            }
    print(json.dumps({**seen, "contacted": contacted(log)}))  # noqa: T201  # for the test that started this process


if __name__ == "__main__":
    put_up_loopback()
    asyncio.run(main(Path(sys.argv[1])))
