"""How the page looks, and that it goes on looking so: styles over several time steps, on a desk
and on a phone, light and dark, in every language, with accounts of every shape and with
many of them. Run by tests/browser/run."""

import argparse
import base64
import json
import pathlib
import tempfile
import time
import urllib.parse
import urllib.request
import uuid

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from browser import PATIENCE, PHONE, chromium
from page import SECRET, VIEWS, Countersign, Server

# Short, so that three of them pass in half a minute; longer than what shows the next code.
PERIOD = 10
STEPS = 3
# The most bytes that the page may have, compressed.
HEAVIEST = 200_000
# How many accounts an import may have.
PART = 500

# Begins to keep the styles of every code, several times a second, and how often each changes.
WATCH = """
    globalThis.seen = {};
    const look = () => {
      for (const row of document.querySelectorAll(".account")) {
        if (!row.offsetParent) continue;
        const digits = row.querySelector(".digits");
        const { color, fontSize, fontWeight, fontFamily } = getComputedStyle(digits);
        const mine = seen[row.querySelector("strong").textContent] ??= { styles: {}, texts: [], classes: {} };
        const style = [fontSize, fontWeight, fontFamily].join("|");
        (mine.styles[style] ??= {})[color] = digits.closest(".soon") ? "soon" : "";
        mine.classes[digits.closest("button").className] = true;
        if (mine.texts.at(-1) !== digits.textContent) mine.texts.push(digits.textContent);
      }
    };
    look();
    setInterval(look, 120);"""


def shapes(server):
    """Accounts with and without what is optional; answers what is to be shown of each."""
    def add(account, query="", **parameters):
        uri = f"otpauth://totp/{urllib.parse.quote(account)}?{urllib.parse.urlencode({'secret': SECRET, 'period': PERIOD, **parameters})}"
        return server.call("POST", f"/api/accounts{query}", {"uri": uri})["secretName"]
    change = lambda id, **what: server.call("PATCH", f"/api/accounts/{id}", what)
    add("bare")
    add("ada@example.com", issuer="An issuer")
    add("eight", issuer="Eight digits", digits=8, algorithm="SHA256")
    add("steam", "?kind=steam", issuer="Steam", period=30)
    change(add("filed", issuer="Filed"), group="Engineering", tags=["prod", "eu"])
    change(add("guarded", issuer="Guarded"), readApproval=True)
    # Guarded once, and no longer: the member is there again.
    unguarded = add("unguarded", issuer="Unguarded")
    change(unguarded, readApproval=True)
    change(unguarded, readApproval=False)
    add("waits", "?proof=required", issuer="Waiting")
    add("a-very-long-account-name-without-any-place-to-break-it-" * 2, issuer="Long")
    add("\u05d7\u05e9\u05d1\u05d5\u05df", issuer="\u05e9\u05dc\u05d5\u05dd")


def steady(pages, server):
    """Over three time steps no code changes its looks, but for its colour near the end."""
    shapes(server)
    for page, scheme, metrics, language in pages:
        page.enter(server, server.token)
        page.script("localStorage.setItem('language', arguments[0])", language)
        page.size(metrics)
        page.media(prefers_color_scheme=scheme)
        page.browser.refresh()
        page.until(lambda _: page.digits("An issuer").isdigit(), "a code")
        assert page.is_dark() == (scheme == "dark")
        page.script(WATCH)
    for page, scheme, metrics, language in pages:
        where = f"{scheme}, {language}, {'phone' if metrics else 'desk'}"
        page.until(lambda _: len(page.script("return seen['An issuer'].texts")) > STEPS, f"{STEPS} steps, {where}")
        seen = page.script("return seen")
        assert len(seen) == 10 or metrics, sorted(seen)
        plain = {name: each for name, each in seen.items() if name not in ("Guarded", "Waiting")}
        fonts = {style for each in plain.values() for style in each["styles"]}
        assert len(fonts) == 1 and next(iter(fonts)).startswith("26px|600|"), f"{where}: {fonts}"
        colours = [(colour, soon) for each in plain.values() for style in each["styles"].values() for colour, soon in style.items()]
        assert len({colour for colour, soon in colours if not soon}) == 1 and len({colour for colour, soon in colours if soon}) == 1, f"{where}: {set(colours)}"
        assert {name for each in plain.values() for name in each["classes"]} == {"code"}, f"{where}: {plain}"
        for name in {"Guarded", "Waiting"} & set(seen):
            each = seen[name]
            assert len(each["styles"]) == 1 and next(iter(each["styles"])).startswith("16px|600|") and len(each["texts"]) == 1, f"{where}: {each}"
            assert all(len(colours) == 1 for colours in each["styles"].values()), f"{where}: {each}"
        page.no_complaints()


def both_languages(page, server, axe):
    """The same texts with the same parameters in each, and no view that mixes them."""
    different = page.browser.execute_async_script("""
        const done = arguments[0];
        import("/text.js").then(({ languages }) => {
          const wrong = [];
          const parameters = (text) => text.toString().split("=>")[0];
          const names = (text) => [...parameters(text).matchAll(/\\b[a-z]\\w*/gi)].map(([name]) => name);
          const compare = (one, other, where) => {
            const kind = (value) => (Array.isArray(value) ? `list of ${value.length}` : typeof value);
            if (kind(one) !== kind(other)) return wrong.push(`${where}: ${kind(one)} and ${kind(other)}`);
            if (typeof one === "string" && (one.trim() === "" || other.trim() === "")) wrong.push(`${where} is empty`);
            if (typeof one === "function") {
              if (parameters(one) !== parameters(other)) wrong.push(`${where}: ${parameters(one)} and ${parameters(other)}`);
              for (const text of [one, other]) {
                for (const name of names(text)) if (!new RegExp(`\\\\b${name}\\\\b`).test(text.toString().split("=>").slice(1).join("=>"))) wrong.push(`${where} leaves out ${name}`);
              }
            }
            if (typeof one === "object") {
              for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) compare(one[key], other[key], `${where}.${key}`);
            }
          };
          const [first, ...others] = Object.entries(languages);
          for (const [code, texts] of others) compare(first[1], texts, code);
          done({ wrong, count: others.length });
        }).catch((error) => done({ wrong: [String(error)] }));""")
    assert different == {"wrong": [], "count": 1}, different
    page.enter(server, server.token)
    page.script("localStorage.setItem('language', 'de')")
    page.size()
    page.browser.refresh()
    english = """
        const done = arguments[0];
        import("/text.js").then(({ languages: { en, de } }) => {
          const texts = new Set();
          const gather = (one, other) => {
            if (typeof one === "string" && one !== other) texts.add(one);
            if (one && typeof one === "object") for (const key of Object.keys(one)) gather(one[key], other[key]);
          };
          // A language is called by its own name in each.
          gather({ ...en, language: undefined }, de);
          const german = new Set();
          const all = (one) => (typeof one === "string" ? german.add(one) : one && typeof one === "object" && Object.values(one).forEach(all));
          all(de);
          const found = [];
          const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walk.nextNode()) {
            const text = walk.currentNode.textContent.trim();
            if (texts.has(text) && !german.has(text) && !walk.currentNode.parentElement.closest("bdi, noscript")) found.push(text);
          }
          for (const element of document.querySelectorAll("[aria-label]")) if (texts.has(element.ariaLabel) && !german.has(element.ariaLabel)) found.push(element.ariaLabel);
          done(found);
        });"""
    source = axe.read_text() if axe else None
    page.browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": source is not None})
    for hash, _, css, name in VIEWS:
        page.open(hash)
        page.until(lambda _: page.all("h1"), name)
        assert page.script("return document.documentElement.lang") == "de"
        mixed = page.browser.execute_async_script(english)
        assert not mixed, f"{name}: {mixed}"
        assert page.width() <= page.script("return innerWidth"), f"{name} is too wide"
        if source:
            page.without_barriers(source, f"{name}, German")
    page.browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    page.says("#header nav", "Freigaben")
    page.script("localStorage.clear()")


def without_barriers(page, server, axe):
    """What page.py does not open: settings, commands, keys, and a selection with its questions."""
    source = axe.read_text()
    page.browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    page.enter(server, server.token)
    for language, scheme, metrics in (("en", "light", None), ("de", "dark", {**PHONE, "deviceScaleFactor": 1})):
        where = f"{language}, {scheme}"
        page.script("localStorage.setItem('language', arguments[0])", language)
        page.media(prefers_color_scheme=scheme)
        page.size(metrics)
        page.open("#/settings")
        page.browser.refresh()
        page.one("#theme")
        page.without_barriers(source, f"settings, {where}")
        ActionChains(page.browser).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
        page.one("dialog [role=option]")
        page.without_barriers(source, f"commands, {where}")
        page.keys(Keys.ESCAPE)
        page.until(lambda _: not page.all("dialog"), "the dialog is closed")
        page.keys("?")
        page.one("dialog kbd")
        page.without_barriers(source, f"keys, {where}")
        page.keys(Keys.ESCAPE)
        page.until(lambda _: not page.all("dialog"), "the dialog is closed")
        page.open("#/accounts")
        page.click("[data-key=select]")
        page.script("arguments[0].scrollIntoView({ block: 'center' })", page.row("Filed"))
        page.in_row("Filed", ".pick")
        page.in_row("Filed", ".favour")
        page.without_barriers(source, f"a selection, {where}")
        for action in ("group", "tag", "grant", "remove"):
            page.click(f"[data-key={action}-these]")
            page.one("dialog h2")
            page.without_barriers(source, f"{action}, {where}")
            page.keys(Keys.ESCAPE)
            page.until(lambda _: not page.all("dialog"), "the dialog is closed")
        page.script("localStorage.clear()")
    page.media()
    page.size()
    page.browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})


# Whether there is a line above each row that is in view, in a picture of the page.
LINES = """
    const [shot, done] = arguments;
    const bytes = Uint8Array.from(atob(shot), (c) => c.charCodeAt(0));
    createImageBitmap(new Blob([bytes], { type: "image/png" })).then((image) => {
      const pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
      pen.drawImage(image, 0, 0);
      const rows = [...document.querySelectorAll(".account")].map((e) => e.getBoundingClientRect());
      done(rows.filter(({ top }) => top > 70 && top < innerHeight - 80).map(({ left, top }) => {
        const { data } = pen.getImageData(Math.round(left) + 40, Math.round(top) - 3, 1, 5);
        return new Set([...data].map((value, n) => (n % 4 === 0 ? value : -1))).size > 2;
      }));
    }).catch((error) => done([String(error)]));"""


def aligned(page, server):
    """What stands beside each other is level: labels, buttons with what they are for, rows."""
    level = """
        const line = (element) => {
          const words = document.createRange();
          words.selectNodeContents(element);
          return words.getClientRects()[0]?.top ?? element.getBoundingClientRect().top;
        };"""
    if not count(server):
        shapes(server)
    page.enter(server, server.token)
    page.says(".account", "Filed")
    bottoms = lambda css: page.script("return [...document.querySelectorAll(arguments[0])].filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect().bottom)", css)
    tops = lambda css: page.script(level + "return [...document.querySelectorAll(arguments[0])].filter((e) => e.offsetParent).map(line)", css)
    near = lambda values: len(values) > 1 and max(values) - min(values) <= 1
    assert near(tops(".bar .field > span")), tops(".bar .field > span")
    assert near(bottoms(".bar input[type=search], .bar select, .bar button")), bottoms(".bar input[type=search], .bar select, .bar button")
    page.open("#/operations/record")
    page.one("tbody tr")
    assert near(tops(".bar .field > span")), tops(".bar .field > span")
    assert near(bottoms(".bar input, .bar select, .bar .main")), bottoms(".bar input, .bar select, .bar .main")
    server.key("levelled", "reader")
    page.open("#/operations/keys")
    page.one("td .plain")
    row = lambda: page.script(level + "const row = document.querySelector('td .plain').closest('tr'); return [...row.cells].filter((cell) => cell.textContent).map((cell) => line(cell.querySelector('.plain') ?? cell))")
    page.until(lambda _: near(row()), "a row's words are level")
    page.open("#/add")
    page.click("summary", "Type it by hand")
    page.one("input[name=link]").send_keys("otpauth://totp/levelled?secret=" + SECRET, Keys.ENTER)
    page.one(".work .head button")
    middles = page.script("return [...document.querySelectorAll('.work .head > *')].map((e) => { const { top, bottom } = e.getBoundingClientRect(); return (top + bottom) / 2; })")
    assert near(middles), middles
    # On a phone, each row has its line above it, also where the screen has one dot for each.
    page.open("#/accounts")
    page.size({**PHONE, "deviceScaleFactor": 1})
    page.until(lambda _: page.row("Filed"), "the rows")
    for way in (0, 37.5, 150):
        page.script("window.scrollTo(0, arguments[0])", way)
        shot = page.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
        lines = page.browser.execute_async_script(LINES, shot)
        assert len(lines) >= 3 and all(lines), f"lines between rows are lost at {way}: {lines}"
    # Codes stay where they are, and cover nothing, whether or not the next one is shown.
    places = "return [...document.querySelectorAll('.account')].filter((e) => !e.querySelector('.pending')).map((e) => { const { x, y, right, bottom } = e.querySelector('.digits').getBoundingClientRect(); return [x, y + scrollY, right, bottom + scrollY]; })"
    for metrics in ({**PHONE, "deviceScaleFactor": 1}, None):
        page.size(metrics)
        page.until(lambda _: page.digits("Eight digits").isdigit(), "codes")
        page.script("for (const e of document.querySelectorAll('.next')) e.textContent = ''")
        before = page.script(places)
        page.script("for (const e of document.querySelectorAll('.next')) e.textContent = arguments[0]", "next 123 456 78")
        assert page.script(places) == before, "codes move when the next one is shown"
        covered = page.script("""
            return [...document.querySelectorAll(".account")].filter((e) => e.offsetParent && !e.querySelector(".pending")).filter((row) => {
              const [code, next, ring] = [".digits", ".next", ".ring"].map((css) => row.querySelector(css).getBoundingClientRect());
              const apart = (one, other) => one.right <= other.left || one.bottom <= other.top + 4;
              return !apart(code, next) || !(next.right <= ring.left || next.top >= ring.top) || next.right > innerWidth;
            }).map((row) => row.querySelector("strong").textContent);""")
        assert not covered, covered
    page.size()


def weighs_little(page, server):
    """What a browser that was never here loads of the page, as it is sent: icons are separate."""
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    page.browser.execute_cdp_cmd("Network.setBypassServiceWorker", {"bypass": True})
    page.enter(server, server.token)
    loaded = page.script("""
        return [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
          .map((e) => ({ path: new URL(e.name).pathname, sent: e.encodedBodySize, whole: e.decodedBodySize }));""")
    own = [each for each in loaded if not each["path"].startswith(("/api/", "/icons/"))]
    scripts = [each for each in own if each["path"].endswith(".js")]
    assert len(scripts) > 30 and all(0 < each["sent"] < each["whole"] for each in scripts), scripts
    sent = sum(each["sent"] for each in own)
    print(f"the page is {sent} bytes")
    assert sent <= HEAVIEST, sent
    page.browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
    page.browser.execute_cdp_cmd("Network.setBypassServiceWorker", {"bypass": False})


def soon(pages, server, many):
    """However many accounts there are, the first code is there at once: measured and told, since machines differ."""
    page, *others = pages
    for other in others:
        other.browser.get("about:blank")
    begun = time.monotonic()
    there = count(server)
    # An import is paced, so all of them run at the same time.
    imports = []
    for part in range(there, many, PART):
        uris = (f"otpauth://totp/user{n}?secret={base64.b32encode(uuid.uuid4().bytes).decode().strip('=')}&issuer=Service%20{n // 10:03}" for n in range(part, min(part + PART, many)))
        imports.append(importing(server, "\n".join(uris)))
    for state in imports:
        imported(server, state)
    print(f"imported {max(many - there, 0)} in {time.monotonic() - begun:.0f} s")
    many = count(server)
    page.enter(server, server.token)
    for where, metrics in (("phone", PHONE), ("desk", None)):
        page.size(metrics)
        opened = [first_code(page, page.browser.refresh) for _ in range(3)]
        page.open("#/settings")
        page.one("#theme")
        returned = first_code(page, lambda: page.script("performance.clearMarks(); performance.mark('begin'); location.hash = '#/accounts'"), "performance.getEntriesByName('begin')[0].startTime")
        print(f"first code of {many} accounts, {where}: {', '.join(f'{each:.0f}' for each in opened)} ms after the page was opened, {returned:.0f} ms after its view was")
        page.until(lambda _: int(page.one_text("#count").split(" ")[0].replace(",", "") or 0) == many, "all of them")
    took = page.script("""
        const search = document.getElementById("search");
        const begun = performance.now();
        search.value = arguments[0];
        search.dispatchEvent(new Event("input"));
        document.body.offsetHeight;
        return performance.now() - begun;""", f"user{many - 1}")
    page.until(lambda _: f"Service {(many - 1) // 10:03}" in page.order() and len(page.order()) < 20, "few of many")
    print(f"search among {many}: {took:.0f} ms")
    page.script("document.getElementById('search').value = ''; document.getElementById('search').dispatchEvent(new Event('input'))")
    # What is looked at is asked for together.
    page.script("performance.clearResourceTimings()")
    page.script("document.querySelector('.account:last-child').scrollIntoView()")
    page.until(lambda _: page.all(".account:last-child .digits")[0].text.strip()[0].isdigit(), "codes of what is scrolled to")
    asked = page.script("return performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/tokens')).length")
    assert 1 <= asked <= 3, asked


def count(server):
    """How many accounts there are."""
    found, cursor = 0, ""
    while cursor is not None:
        part = server.call("GET", f"/api/accounts?limit=200{cursor}")
        found += len(part["accounts"])
        cursor = f"&cursor={urllib.parse.quote(part['next'])}" if part.get("next") else None
    return found


def first_code(page, opens, since="0"):
    """How many milliseconds after it was opened the page painted its first code."""
    watch = """
        const painted = () => {
          if (!/^[0-9]/.test(document.querySelector(".account .digits")?.textContent.trim() ?? "")) return requestAnimationFrame(painted);
          requestAnimationFrame(() => setTimeout(() => (globalThis.first ??= performance.now())));
        };
        globalThis.first = undefined;
        requestAnimationFrame(painted);"""
    script = page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": watch})["identifier"]
    page.script(watch)
    opens()
    took = page.until(lambda _: page.script(f"return globalThis.first && globalThis.first - ({since})"), "the first code")
    page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": script})
    return took


def importing(server, text):
    """Begins to add all accounts of a text."""
    request = urllib.request.Request(f"{server.http}/api/imports", method="POST", data=text.encode(), headers={
        "authorization": f"Bearer {server.token}", "content-type": "text/plain"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def imported(server, state):
    """Waits until all are added."""
    while state["stage"] not in ("Done", "Failed", "Terminated"):
        state = server.call("GET", f"/api/imports/{state['id']}?wait=10")
    assert state["stage"] == "Done" and all(each["result"] == "enrolled" for each in state["accounts"]), state["stage"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    parser.add_argument("--axe", type=pathlib.Path, help="axe-core, to look for barriers")
    parser.add_argument("--only", nargs="*", help="only these steps")
    parser.add_argument("--many", type=int, default=1_000, help="with how many accounts the first code is measured, in parts of 500")
    parser.add_argument("--data", type=pathlib.Path, help="a data folder to use, so that many accounts are imported once only")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    server = Server(options.program, options.data or folder / "data")
    # Each screen with each scheme, and every language with each of both.
    phone = {**PHONE, "deviceScaleFactor": 1}
    shown = [("light", None, "en"), ("dark", phone, "de"), ("dark", None, "de"), ("light", phone, "en")]
    browsers = [chromium() for _ in shown]
    try:
        all_pages = [Countersign(browser, server.http, options.pictures, "page") for browser in browsers]
        page = all_pages[0]
        steps = {
            "steady": lambda: steady([(each, *how) for each, how in zip(all_pages, shown)], server),
            "both_languages": lambda: both_languages(page, server, options.axe),
            "without_barriers": lambda: options.axe and without_barriers(page, server, options.axe),
            "aligned": lambda: aligned(page, server),
            "weighs_little": lambda: weighs_little(page, server),
            "soon": lambda: soon(all_pages, server, options.many),
        }
        for name, step in steps.items():
            if options.only and name not in options.only:
                continue
            step()
            for each in all_pages:
                each.no_complaints()
            print("ok", name, flush=True)
        server.stop()
    except Exception:
        for number, browser in enumerate(browsers):
            browser.save_screenshot(str(folder / f"failed-{number}.png"))
            print(f"the page when it failed: {folder}/failed-{number}.png", flush=True)
            print(browser.find_element("css selector", "body").text[:3000], flush=True)
            print(browser.get_log("browser"), flush=True)
        raise
    finally:
        for browser in browsers:
            browser.quit()
        server.process.kill()


if __name__ == "__main__":
    main()
