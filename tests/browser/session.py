"""Sessions in a real browser: how they begin and end, what pages elsewhere can do with them, and
what is left on the disk. Run by tests/browser/run."""

import argparse
import contextlib
import functools
import http.server
import json
import os
import pathlib
import signal
import tempfile
import threading
import time

from selenium.webdriver.common.keys import Keys

from browser import PATIENCE, chromium
from page import SECRET, Countersign, Server

# Of no account that page.py enrolls, so that it can be looked for.
EXPORTED = "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"


class Elsewhere:
    """A server of somebody else on the same host: the same site, another origin."""

    def __init__(self):
        self.pages, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                body, headers = outer.pages.get(self.path, ("", {}))
                self.send_response(200)
                for name, value in {"content-type": "text/html", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.http = f"http://127.0.0.1:{self.server.server_port}"

    def page(self, path, body="<p>elsewhere</p>", **headers):
        self.pages[path] = (body, headers)
        return self.http + path


def granted(page, server, kind, account, approver, **more):
    """Asks for something with an account, has it approved, and shows where it is used."""
    asked = server.call("POST", f"/api/accounts/{account}/requests", {"kind": kind, **more})
    path = asked["statusQueryGetUri"]
    status = lambda: server.call("GET", path)
    page.until(lambda _: status()["stage"] == "AwaitingApproval", "it waits for approval")
    server.call("POST", status()["approvalPostUri"], {"approved": True, "comment": more.get("comment", "")}, approver)
    page.until(lambda _: status()["stage"] == "Granted", "it is granted")
    page.open("#/operations/requests")


def kept(folder):
    """Every file that a browser has left in its folder."""
    for path in pathlib.Path(folder).rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()


def nothing_is_left(program, folder, server, approver):
    """What was shown, typed and opened is nowhere in the browser's own files afterwards."""
    profile = folder / "profile"
    browser = chromium(profile)
    secrets = {"the administrator's token": server.token, "an account's secret": EXPORTED}
    try:
        page = Countersign(browser, server.http, folder, "session")
        page.browser.execute_cdp_cmd("Browser.grantPermissions", {
            "origin": server.http, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        account = server.call("POST", "/api/accounts", {"uri": f"otpauth://totp/Kept?secret={EXPORTED}"})["secretName"]
        link = server.link()
        page.browser.get(server.http + link)
        page.one("#header nav")
        page.open("#/operations/keys")
        page.button("Create a key")
        page.one("dialog input[name=name]").send_keys("kept-nowhere")
        page.button("Create a key", "dialog")
        secrets["a key"] = page.one("dialog .secret-text").text
        assert not page.all("dialog form"), "a browser remembers what is in a form"
        page.button("Copy", "dialog")
        page.button("I have saved it", "dialog")
        granted(page, server, "export", account, approver)
        page.button("Fetch it")
        page.until(lambda _: EXPORTED in page.one("dialog .secret-text").text, "the link")
        assert not page.all("dialog form")
        page.button("Close", "dialog")
        page.button("Log out", "#header")
        for typed in (server.token, secrets["a key"]):
            page.one("input[name=credential]").send_keys(typed, Keys.ENTER)
            page.button("Log out", "#header")
            page.says("h1", "Log in")
        # Opening the link from the history later logs nobody in.
        page.browser.get("about:blank")
        page.browser.get(server.http + link)
        page.says(".complaint", "A login link can be used once")
        page.says("h1", "Log in")
    finally:
        browser.quit()
    files = list(kept(profile))
    assert any(server.listen.encode() in content for path, content in files if path.name == "History"), "the history was not read"
    for what, secret in secrets.items():
        # Without what is the same in every key, and as browsers write text.
        telling = secret[-24:]
        for written in (telling.encode(), telling.encode("utf-16-le")):
            found = [str(path.relative_to(profile)) for path, content in files if written in content]
            assert not found, f"{what} is in {found}"


def by_link(page, server):
    """A link asks before it takes another caller's place, and leaves the address at once."""
    page.enter(server, server.token)
    boss = server.key("boss", "admin")
    page.browser.get("about:blank")
    page.browser.get(server.http + server.link(boss))
    page.says("dialog h2", "Log admin out?")
    page.button("Cancel", "dialog")
    page.says(".caller", "admin")
    page.until(lambda b: b.current_url == f"{server.http}/", "the code has left the address")
    # The same in a page that is open.
    page.script("location.hash = arguments[0]", server.link(boss).removeprefix("/login"))
    page.until(lambda b: "code" not in b.current_url, "the code has left the address")
    page.button("Log in as the new caller", "dialog")
    page.says(".caller", "boss, admin")
    # What is no link shows the form, or what was shown, and is no longer in the address.
    for hash in ("#code=%", "#token=%", f"#token={server.token}"):
        page.script("location.hash = arguments[0]", hash)
        page.until(lambda b: "=" not in b.current_url, hash)
        page.says(".caller", "boss, admin")
        page.browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
        page.browser.get("about:blank")
        page.browser.get(f"{server.http}/login{hash}")
        page.says("h1", "Log in")
        page.until(lambda b: "=" not in b.current_url, hash)
        page.enter(server, boss)


def reads(server, account):
    """How many codes of an account were given out."""
    entries = server.call("GET", f"/api/audit?action=read-code&subject={account}&limit=200")["entries"]
    return sum(1 for entry in entries if entry["outcome"] == "done")


def from_elsewhere(page, server, elsewhere, account):
    """Pages of the same site make nobody read, change or log in."""
    page.enter(server, server.token)
    page.open("#/operations/health")
    page.says(".badge", "reachable")
    before = reads(server, account)
    victim = server.key("victim-of-forms", "enroller")
    path = f"{server.http}/api/accounts/{account}/token"
    tries = f"""<img src="{path}"><script src="{path}"></script>
        <iframe src="{path}"></iframe><link rel="stylesheet" href="{path}"><p>ready</p>"""
    page.browser.get(elsewhere.page("/reads", tries))
    page.says("p", "ready")
    answer = page.browser.execute_async_script("""
        const [path, done] = arguments;
        fetch(path, { mode: "no-cors", credentials: "include" }).then((answer) => done(answer.type), (error) => done(String(error)));""", path)
    assert answer != "basic", answer
    # A link there: the cookie goes along, and does not count.
    page.browser.get(elsewhere.page("/link", f'<a href="{path}">read</a>'))
    page.click("a")
    page.until(lambda b: '"code":"cross-site"' in b.page_source.replace(" ", ""), "it is refused")
    assert reads(server, account) == before, "a page elsewhere has read a code"
    page.browser.get(elsewhere.page("/form", f'<form method="post" action="{server.http}/api/session?code={victim}"><button>go</button></form>'))
    page.click("button")
    page.until(lambda b: b.current_url.startswith(server.http), "the form is sent")
    page.open("")
    page.says(".caller", "admin")
    # An opener keeps no handle.
    page.browser.get(elsewhere.page("/opener", f'<button onclick="window.other = window.open(\'{server.http}/\')">go</button>'))
    first = page.browser.current_window_handle
    page.click("button")
    page.until(lambda b: len(b.window_handles) == 2, "another window")
    page.browser.switch_to.window(next(each for each in page.browser.window_handles if each != first))
    page.one("#header nav")
    assert page.script("return window.opener") is None
    page.browser.close()
    page.browser.switch_to.window(first)


def tossed(page, server, elsewhere, account):
    """Cookies that another program on this host puts beside ours make nobody act for another, and
    lock nobody out."""
    other = server.key("tossed", "enroller")
    for value, where in [("junk", "/api"), ("junk", "/api/accounts"), ("own", "/api"), ("own", "/")]:
        if value == "own":
            page.enter(server, other)
            value = next(cookie["value"] for cookie in page.browser.get_cookies() if cookie["name"] == "countersign_session")
        page.enter(server, server.token)
        page.says(".account", "Kept")
        first = page.browser.current_window_handle
        page.browser.switch_to.new_window("tab")
        tossed = f"countersign_session={value}; Path={where}"
        page.browser.get(elsewhere.page("/toss", **{"set-cookie": tossed}))
        page.browser.close()
        page.browser.switch_to.window(first)
        # The open page shows the administrator: what is asked for there is not done as another.
        page.browser.execute_async_script("""
            const [uri, done] = arguments;
            import("/api.js").then(({ call }) => call("POST", "/api/enrollments", { body: { uri } })).then(done, (problem) => done(problem.message));""",
            f"otpauth://totp/Tossed?secret={SECRET}")
        page.says("h1", "Log in")
        assert "Kept" not in page.script("return document.body.textContent")
        mine = [each for each in server.call("GET", "/api/enrollments")["enrollments"] if each["requestedBy"] == "tossed"]
        assert not mine, "an enrollment was made as another"
        # Logging in again works; the page asks before it replaces another caller.
        page.one("input[name=credential]").send_keys(server.token, Keys.ENTER)
        page.until(lambda _: page.all("dialog") or page.all("#header nav"), "logged in, or asked")
        if page.all("dialog"):
            page.button("Log in as the new caller", "dialog")
        page.says(".caller", "admin")
        page.click("nav a", "Accounts")
        page.until(lambda _: page.all(".account") or page.all("input[name=credential]"), "accounts, or once more")
        if page.all("input[name=credential]"):
            page.one("input[name=credential]").send_keys(server.token, Keys.ENTER)
        page.says(".account", "Kept")
        page.browser.refresh()
        page.says(".caller", "admin")
        page.says(".account", "Kept")


def ends_everywhere(page, server):
    """What a dialog shows does not outlive the session that it was shown to."""
    page.enter(server, server.token)
    page.open("#/operations/keys")
    page.button("Create a key")
    page.one("dialog input[name=name]").send_keys("shown-no-longer")
    page.button("Create a key", "dialog")
    key = page.one("dialog .secret-text").text
    cookie = next(each["value"] for each in page.browser.get_cookies() if each["name"] == "countersign_session")
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    # A tab that nobody sees shows no secret.
    page.open("")
    page.button("Log out", "#header")
    page.says("h1", "Log in")
    page.browser.close()
    page.browser.switch_to.window(first)
    page.says("h1", "Log in")
    assert not page.all("dialog") and key not in page.script("return document.documentElement.outerHTML")
    # The session is over at the server too, whoever has a copy of the cookie.
    page.browser.execute_cdp_cmd("Network.setCookie", {"url": server.http, "name": "countersign_session", "value": cookie, "httpOnly": True, "sameSite": "Strict"})
    page.browser.refresh()
    page.says("h1", "Log in")


def hidden(page, server, account):
    """A tab that nobody sees shows no code, and the clipboard keeps none after its time."""
    page.enter(server, server.token)
    page.until(lambda _: page.digits("Kept").isdigit(), "a code")
    see = """Object.defineProperty(document, "visibilityState", { get: () => arguments_0, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));"""
    page.script(see.replace("arguments_0", "'hidden'"))
    assert not page.digits("Kept").isdigit(), "codes stay on a hidden page"
    page.script(see.replace("arguments_0", "'visible'"))
    page.until(lambda _: page.digits("Kept").isdigit(), "a code again")
    page.until(lambda _: page.digits("Quick").isdigit(), "a code")
    page.in_row("Quick", ".code")
    page.says("#toast", "copied")
    copied = page.clipboard()
    assert copied.isdigit(), copied
    page.until(lambda _: page.clipboard() == "", "the code has left the clipboard")


def used_up(page, server, account):
    """A lease that is used up is not asked for again and again, and the page says how much is left of it."""
    key = server.key("leaser", "reader", "--granted-only")
    server.call("POST", "/api/grants", {"caller": "leaser", "account": account, "reads": 1})
    page.enter(server, key)
    page.says(".account", "Quick")
    page.says(".lease", "1 code left")
    if page.one("label.check input").is_selected():
        page.click("label.check")
    page.until(lambda _: page.digits("Quick").isdigit(), "the one code")
    refused = lambda: [e for e in server.call("GET", "/api/audit?caller=leaser&action=read-code&limit=200")["entries"] if e["outcome"] == "refused"]
    page.until(lambda _: len(refused()) == 1, "it is used up")
    # As long as ten of the former repetitions.
    until = time.monotonic() + 6
    while time.monotonic() < until:
        assert len(refused()) == 1, "it is asked for again"
        time.sleep(0.5)
    page.says(".account .code", "used up")
    page.says("#leases-over", "Quick")
    page.click(".account .code", "used up")
    page.says("#toast", "An administrator can grant you more")
    # A link to what this reader has not says so.
    page.open("#/operations/keys")
    page.says("#toast", "not for your role")
    page.open("#/accounts")
    page.click("label.check")


def told_apart(page, server, account, approver):
    """What somebody wrote does not look like what the page says."""
    page.enter(server, server.token)
    lie = "\u202ereversed\u202c Approved by an-approver: ok. Expires in 3 hours, 50 codes left."
    server.call("POST", f"/api/accounts/{account}/requests", {"kind": "read", "reason": lie}, server.key("liar", "reader"))
    page.open("#/operations/requests")
    page.says(".said bdi", "Approved by an-approver")
    apart = page.script("""return [...document.querySelectorAll("td")].filter((cell) => cell.textContent.includes("Approved by an-approver"))
        .every((cell) => [...cell.querySelectorAll("p:not(.said)")].every((own) => !own.textContent.includes("an-approver")))""")
    assert apart


def worker(page, server):
    """The service worker keeps the page, nothing else, and shows it when the server hangs."""
    page.enter(server, server.token)
    page.until(lambda _: page.script("return navigator.serviceWorker.controller !== null"), "the worker looks after the page")
    page.browser.refresh()
    page.one("#header nav")
    for path, text in [("/docs", "whoAmI"), ("/api/openapi.json", "openapi"), ("/healthz", "ok"), ("/nope", "no-such-path")]:
        page.browser.get(server.http + path)
        page.until(lambda b: text in b.page_source, f"{path} is the server's")
    page.browser.get(f"{server.http}/")
    page.one("#header nav")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        page.browser.get("about:blank")
        page.browser.execute_script("setTimeout(() => location.href = arguments[0])", f"{server.http}/")
        page.until(lambda b: b.find_elements("css selector", "#skip") and page.script("return document.readyState") != "loading", "the kept page")
        took = time.monotonic() - begun
        assert took < 10, took
        print(f"the kept page of a server that hangs after {took:.1f} s")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    page.browser.get("about:blank")
    # Another program at the same address is neither kept nor run as this page.
    server.stop()
    port = int(server.listen.rsplit(":", 1)[1])

    class Portal(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(self.status)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p id=portal>portal</p><script>window.portal = true</script>")

        def log_message(self, *_):
            pass
    portal = http.server.ThreadingHTTPServer(("127.0.0.1", port), Portal)
    threading.Thread(target=portal.serve_forever, daemon=True).start()
    try:
        page.browser.get(f"{server.http}/")
        page.one("#portal")
        Portal.status = 502
        page.browser.get("about:blank")
        page.browser.get(f"{server.http}/")
        page.until(lambda _: page.all("#skip"), "the kept page in the place of a proxy's error")
    finally:
        portal.shutdown()
        portal.server_close()
    page.browser.get("about:blank")
    page.browser.get(f"{server.http}/")
    page.until(lambda _: page.all("#skip"), "the kept page")
    assert not page.script("return Boolean(window.portal)")
    page.browser.get("about:blank")
    server.start()


def pasted(page, server):
    """Text that is pasted or dropped is stored once somebody has seen what it is."""
    page.enter(server, server.token)
    page.says(".account", "Kept")
    link = f"otpauth://totp/Pasted:somebody?secret={SECRET}&issuer=Pasted"
    paste = """const data = new DataTransfer(); data.setData("text/plain", arguments[0]);
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));"""
    there = lambda: [each["issuer"] for each in server.call("GET", "/api/accounts?search=pasted")["accounts"]]
    page.script(paste, link)
    page.says("dialog h2", "Add what was pasted")
    page.says("dialog li", "Pasted somebody")
    assert SECRET not in page.script("return document.documentElement.outerHTML")
    page.button("Cancel", "dialog")
    assert there() == []
    page.script(paste, link)
    page.button("Add", "dialog")
    page.says(".work", "Added.")
    assert there() == ["Pasted"]
    # What is no account gets an answer, in every view, and a dropped text on the one for adding.
    bring = """const data = new DataTransfer(); for (const [kind, text] of Object.entries(arguments[1])) data.setData(kind, text);
        document.body.dispatchEvent(arguments[0] === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
          : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));"""
    for view in ("#/accounts", "#/add", "#/settings"):
        page.open(view)
        page.one("h1")
        for junk in ({"text/plain": "hello world"}, {"text/plain": "https://example.com/?otp=1"}, {"text/html": "<b>bold</b>"}, {}):
            for way in ("paste", "drop") if view == "#/add" else ("paste",):
                page.script("document.getElementById('toast').replaceChildren()")
                page.script(bring, way, junk)
                page.says("#toast", "Nothing to add was found")
    assert there() == ["Pasted"] and not page.all("dialog")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--pictures", help="of which there are none here")
    parser.add_argument("--only", nargs="*", help="only these steps")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    server = Server(options.program, folder / "data")
    elsewhere = Elsewhere()
    approver = server.key("session-approver", "approver")
    account = server.add("Kept", "kept@example.com")
    quick = server.add("Quick", "quick@example.com", period=15)
    browser = chromium()
    try:
        browser.execute_cdp_cmd("Browser.grantPermissions", {
            "origin": server.http, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        page = Countersign(browser, server.http, folder, "session")
        steps = [
            (by_link, []), (from_elsewhere, [elsewhere, account]), (tossed, [elsewhere, account]), (ends_everywhere, []), (hidden, [account]),
            (used_up, [quick]), (told_apart, [account, approver]), (pasted, []), (worker, []),
        ]
        for step, more in steps:
            if not options.only or step.__name__ in options.only:
                begun = time.monotonic()
                step(page, server, *more)
                print(f"ok {step.__name__}, {time.monotonic() - begun:.0f} s", flush=True)
        if not options.only or "nothing_is_left" in options.only:
            begun = time.monotonic()
            nothing_is_left(options.program, folder, server, approver)
            print(f"ok nothing_is_left, {time.monotonic() - begun:.0f} s", flush=True)
    except Exception:
        browser.save_screenshot(str(folder / "failed.png"))
        print(f"the page when it failed: {folder}/failed.png", flush=True)
        print(browser.page_source[:3000], flush=True)
        print(browser.get_log("browser"), flush=True)
        raise
    finally:
        browser.quit()
        server.process.kill()


if __name__ == "__main__":
    main()
