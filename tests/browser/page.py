"""The authenticator page in a real browser: every flow by mouse and by keyboard alone, with
two people, across a restart of the server, with a wrong clock, in the dark, on a phone and from
right to left. Run by tests/browser/run."""

import argparse
import base64
import json
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from browser import PATIENCE, PHONE, Page, chromium

SKEW_MS = 40_000
HERE = pathlib.Path(__file__).resolve().parents[2]
TOKEN = HERE / "docs/pictures/test-token.png"
CORPUS = HERE / "activities/tests/data/qr/gen"
BY_SERVICE = ["apple", "Äther", "Banana", "zebra"]
EXPORT = HERE / "enrollment/tests/data/import/aegis-encrypted.json"
PASSWORD = "correct horse"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
# What the steps provoke: a wrong key, what is no account, a server that is away.
COMPLAINTS = {
    "logging_in": ["401 (Unauthorized)"],
    **dict.fromkeys(["adding", "encrypted_export", "seen"], ["422 (Unprocessable"]),
    **dict.fromkeys(["restarted", "approved_across_a_restart", "without_its_server"], ["ERR_CONNECTION_REFUSED"]),
}


class Server:
    """The real program on a data folder, always at the same address."""

    def __init__(self, program, folder, approval_timeout="1h"):
        self.program, self.folder, self.listen = program, folder, "127.0.0.1:0"
        self.approval_timeout = approval_timeout
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "serve", "--listen", self.listen, "--scheduler-listen", "127.0.0.1:0",
             "--dashboard-listen", "127.0.0.1:0", "--approval-timeout", self.approval_timeout, "--json", "--log", "warn", "--data-dir", str(self.folder)],
            stdout=subprocess.PIPE, text=True)
        # One document over several lines.
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(self.process.stdout.readline())
            assert lines[-1], f"it ended with {self.process.wait(PATIENCE)}"
        said = json.loads("".join(lines))
        self.http, self.dashboard = said["server"], said["dashboard"]
        self.listen = self.http.removeprefix("http://")
        self.token = (self.folder / "admin-token").read_text().strip()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def key(self, name, role, *more):
        """The key of a new caller."""
        made = subprocess.run([self.program, "key", "create", name, "--role", role, *more, "--json", "--data-dir", str(self.folder)],
                              check=True, capture_output=True, text=True)
        return json.loads(made.stdout)["key"]

    def call(self, method, path, body=None, token=None):
        request = urllib.request.Request(self.http + path, method=method, headers={
            "authorization": f"Bearer {token or self.token}", "content-type": "application/json"},
            data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or "{}")

    def link(self, token=None):
        """The path of a link that logs in, once."""
        return self.call("POST", "/api/login-links", token=token)["link"]

    def add(self, issuer, account, **parameters):
        """Enrolls an account and waits; answers its id."""
        query = urllib.parse.urlencode({"secret": SECRET, "issuer": issuer, **parameters})
        return self.call("POST", "/api/accounts", {"uri": f"otpauth://totp/{urllib.parse.quote(account)}?{query}"})["secretName"]

    def code(self, id):
        return self.call("GET", f"/api/accounts/{id}/token")


class Countersign(Page):
    """What people do on this page."""

    def enter(self, server, token):
        """Logs in as nobody was before: the administrator with a link, others with their keys."""
        self.browser.get("about:blank")
        self.browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
        if token == server.token:
            self.browser.get(server.http + server.link())
            self.until(lambda b: "code" not in b.current_url, "the code has left the address")
        else:
            self.browser.get(f"{server.http}/")
            self.one("input[name=credential]").send_keys(token, Keys.ENTER)
        self.one("#header nav")

    def row(self, name):
        """The list's row with this name, as it is now."""
        return self.until(lambda _: next(row for row in self.all(".account") if row.is_displayed() and name in row.text), f"row {name}")

    def in_row(self, name, css):
        def found(_):
            row = self.row(name)
            wanted = row.find_element("css selector", css)
            if not wanted.is_displayed():
                # On a phone a row's buttons are behind one of their own.
                row.find_element("css selector", ".more").click()
            wanted.click()
            return True
        self.until(found, f"a click on {css} of {name}")

    def order(self):
        return self.script("return [...document.querySelectorAll('.account')].filter((row) => row.offsetParent).map((row) => row.querySelector('strong').textContent)")

    def digits(self, name):
        """The code that is shown, without its spaces."""
        text = self.row(name).find_element("css selector", ".digits").text
        return "".join(text.split())

    def clipboard(self):
        return self.browser.execute_async_script("const done = arguments[0]; navigator.clipboard.readText().then(done, (e) => done(String(e)))")

    def shows_the_servers_code(self, server, name, id):
        """Read from both within one time step, the codes are the same."""
        def same(_):
            before = server.code(id)
            shown = self.digits(name)
            after = server.code(id)
            return before["token"] == after["token"] == shown
        self.until(same, f"the code of {name} is the server's")

    def drop(self, css, path):
        """Drops a file of the disk, as from the desktop."""
        box = self.script("const { x, y, width, height } = document.querySelector(arguments[0]).getBoundingClientRect();"
                          "return { x: x + width / 2, y: y + Math.min(height / 2, 60) }", css)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **box, "data": data})

    def paste_picture(self, path):
        """Copies a picture and pastes it with the keys."""
        copied = self.browser.execute_async_script("""
            const [text, done] = arguments;
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })])
              .then(() => done("copied"), (error) => done(String(error)));""", base64.b64encode(path.read_bytes()).decode())
        assert copied == "copied", copied
        ActionChains(self.browser).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()

    def picture(self, name):
        shot = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 80})
        (self.pictures / f"{self.kind}-{name}.webp").write_bytes(base64.b64decode(shot["data"]))

    def without_barriers(self, axe, where):
        found = self.browser.execute_async_script(axe + """
            const done = arguments[0];
            axe.run(document, { resultTypes: ["violations"] }).then((result) => done(result.violations), (error) => done(String(error)));""")
        told = [(each["id"], [node["html"][:120] + " " + node["failureSummary"] for node in each["nodes"][:3]]) for each in found]
        assert not found, f"{where}: {told}"

    def tab_to(self, condition, what, limit=60):
        for _ in range(limit):
            self.keys(Keys.TAB)
            if self.script(f"return Boolean({condition})"):
                return
        raise AssertionError(f"the tabulator does not reach {what}")


def logging_in(page, server):
    page.open("")
    page.says("h1", "Log in")
    page.one("input[name=credential]").send_keys("wrong", Keys.ENTER)
    page.says(".complaint", "")
    page.until(lambda _: page.one(".complaint").text, "a wrong token is refused in words")
    page.one("input[name=credential]").send_keys(server.token, Keys.ENTER)
    page.says("h1", "Accounts")
    page.button("Log out", "#header")
    page.says("h1", "Log in")
    page.enter(server, server.token)
    page.says("h1", "Accounts")
    assert page.browser.current_url == f"{server.http}/", page.browser.current_url


def accounts(page, server, ids):
    page.enter(server, server.token)
    page.says(".account", "zebra")
    page.until(lambda _: page.order() == BY_SERVICE, "sorted without regard to case")
    page.says("#count", "4 accounts")
    page.until(lambda _: page.digits("Banana").isdigit(), "a code")
    print(f"first code by {page.script('return performance.now()'):.0f} ms after the page was asked for")
    page.shows_the_servers_code(server, "Banana", ids["Banana"])
    shown = page.row("Banana").find_element("css selector", ".digits").text
    assert len(shown.replace("\u00a0", " ").split(" ")) == 2, shown
    # One that lasts until it is looked for: the page takes it out of the clipboard at its end.
    page.until(lambda _: server.code(ids["Banana"])["timeRemaining"] > 10, "a code that lasts")
    page.in_row("Banana", ".code")
    page.says("#toast", "Code of Banana bea@example.com copied.")
    code = server.code(ids["Banana"])
    page.until(lambda _: page.clipboard() in (code["token"], page.digits("Banana")), "the code is in the clipboard")

    # Ten-second steps: the next code shows in the last seconds, and then is the present one.
    def next_code(_):
        # Read once: a moment later it may be gone, or another.
        text = "".join(page.row("apple").find_element("css selector", ".next").text.split())
        return text.startswith("next") and text.removeprefix("next")
    coming = page.until(next_code, "the next code")
    page.until(lambda _: page.digits("apple") == coming, "the next code's time has come")

    search = page.one("#search")
    search.send_keys("EXAMPLE.com banan")
    page.until(lambda _: page.order() == ["Banana"], "search as one types")
    page.says("#count", "1 of 4 accounts")
    search.clear()
    search.send_keys("ather")
    page.until(lambda _: page.order() == ["Äther"], "search without accents")
    search.send_keys(Keys.ESCAPE)
    page.until(lambda _: len(page.order()) == 4, "Escape empties the search")
    Select(page.one("#sort")).select_by_visible_text("newest first")
    page.until(lambda _: page.order() == ["zebra", "Banana", "apple", "Äther"], "newest first")
    Select(page.one("#sort")).select_by_visible_text("service")
    page.until(lambda _: page.order() == BY_SERVICE, "by service")

    page.in_row("zebra", "[data-key^=edit]")
    issuer = page.one("dialog input[name=issuer]")
    issuer.clear()
    issuer.send_keys("Aardvark")
    page.button("Save", "dialog")
    page.until(lambda _: page.order() == ["Aardvark", *BY_SERVICE[:3]], "renamed and put in its place")
    page.in_row("Aardvark", "[data-key^=remove]")
    page.says("dialog h2", "Remove Aardvark")
    page.button("Remove", "dialog")
    page.until(lambda _: page.order() == BY_SERVICE[:3], "removed")
    page.button("Undo", "#toast")
    page.until(lambda _: page.order() == ["Aardvark", *BY_SERVICE[:3]], "back")
    # Later, without the toast: the removed ones are under Show.
    page.in_row("Aardvark", "[data-key^=remove]")
    page.says("dialog h2", "Remove Aardvark")
    page.button("Remove", "dialog")
    page.until(lambda _: page.order() == BY_SERVICE[:3], "removed again")
    Select(page.one("#only")).select_by_value("removed")
    page.until(lambda _: [row.get_attribute("data-key") for row in page.all("[data-key^=restore-]")] == [f"restore-{ids['zebra']}"], "it is listed")
    page.click(f"[data-key='restore-{ids['zebra']}']")
    page.says("main", "No account was removed.")
    Select(page.one("#only")).select_by_value("")
    page.until(lambda _: page.order() == ["Aardvark", *BY_SERVICE[:3]], "restored")
    page.shows_the_servers_code(server, "Aardvark", ids["zebra"])


def accounts_by_keyboard(page, server, ids):
    page.enter(server, server.token)
    page.says(".account", "Aardvark")
    page.script("document.activeElement.blur()")
    page.keys(Keys.TAB)
    assert page.focused("textContent") == "Skip to the content"
    page.keys(Keys.ENTER)
    assert page.focused("tagName") == "MAIN"
    page.keys("/")
    assert page.focused("id") == "search"
    page.keys("a", Keys.ARROW_DOWN)
    in_row = lambda name: page.until(lambda _: name in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), f"the focus is at {name}")
    in_row("Aardvark")
    page.keys(Keys.END)
    in_row("Banana")
    page.keys(Keys.ARROW_UP, Keys.ARROW_UP)
    in_row("apple")
    page.until(lambda _: page.digits("apple").isdigit(), "a code")
    page.keys(Keys.ENTER)
    page.says("#toast", "Code of apple")
    # Told once, ten seconds before the end, to whoever has the focus there.
    page.until(lambda _: re.search("The code of apple .*expires in 10 seconds", page.one_text("#said")), "the countdown is announced")
    page.keys(Keys.F2)
    page.one("dialog input[name=accountName]")
    page.keys(Keys.TAB, Keys.END, "-renamed", Keys.ENTER)
    page.says(".account", "ada@example.com-renamed")
    page.until(lambda _: not page.all("dialog"), "the dialog is closed")
    in_row("apple")
    page.keys(Keys.DELETE)
    page.says("dialog h2", "Remove apple")
    page.keys(Keys.ESCAPE)
    page.until(lambda _: not page.all("dialog"), "Escape changes nothing")
    in_row("apple")
    page.keys(Keys.DELETE)
    page.one("dialog")
    page.tab_to("document.activeElement.textContent === 'Remove'", "Remove") if page.focused("textContent") != "Remove" else None
    page.keys(Keys.ENTER)
    page.until(lambda _: "apple" not in page.order(), "removed")
    page.tab_to("document.activeElement.textContent === 'Undo'", "Undo")
    page.keys(Keys.ENTER)
    page.until(lambda _: "apple" in page.order(), "back")
    in_row("apple")
    # The rows are one stop of the tabulator, with a stop for each button.
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    page.until(lambda _: page.focused("textContent") == "Edit", "the arrows reach a row's buttons")


def hidden_until_touched(page, server, ids):
    page.enter(server, server.token)
    page.says(".account", "Banana")
    page.click("label.check")
    page.until(lambda _: not any(page.digits(name)[0].isdigit() for name in page.order()), "no code is shown")
    read = lambda: [e["subject"] for e in server.call("GET", "/api/audit?action=read-code&limit=200")["entries"]]
    reads = len(read())
    page.browser.refresh()
    page.says(".account", "Banana")
    page.until(lambda _: not page.digits("Banana")[0].isdigit(), "the choice is remembered")
    page.in_row("Banana", ".code")
    page.shows_the_servers_code(server, "Banana", ids["Banana"])
    assert not page.digits("Aardvark")[0].isdigit()
    page.in_row("Banana", ".code")
    page.says("#toast", "Code of Banana bea@example.com copied.")
    assert ids["apple"] not in read()[reads:], "only what was touched is read"
    page.until(lambda _: not page.digits("Banana")[0].isdigit(), "hidden again when its time is over")
    page.click("label.check")
    page.until(lambda _: all(page.digits(name)[0].isdigit() for name in page.order()), "all codes are shown")


def with_a_wrong_clock(page, server, ids):
    skew = page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"""
        const real = Date;
        globalThis.Date = class extends real {{
            constructor(...given) {{ super(...(given.length ? given : [real.now() + {SKEW_MS}])); }}
            static now() {{ return real.now() + {SKEW_MS}; }}
        }};"""})
    page.enter(server, server.token)
    ahead = page.script("return Date.now()") - time.time() * 1000
    assert ahead > SKEW_MS / 2, ahead
    page.says(".account", "Banana")
    for _ in range(2):
        page.shows_the_servers_code(server, "Banana", ids["Banana"])
        shown = page.digits("Banana")
        page.until(lambda _: page.digits("Banana") != shown, "the next step")
    page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", skew)


def restarted(page, server, ids):
    page.enter(server, server.token)
    page.shows_the_servers_code(server, "Banana", ids["Banana"])
    server.stop()
    page.says("#link", "The server does not answer")
    server.start()
    page.until(lambda _: not page.one_text("#link").strip() or not page.all("#link")[0].is_displayed(), "the page recovers by itself")
    page.shows_the_servers_code(server, "Banana", ids["Banana"])


def picked(page, css, text):
    """Chooses in a list what is there now."""
    def found(_):
        Select(page.one(css)).select_by_visible_text(text)
        return True
    page.until(found, f"{text} in {css}")


def filled(page, css, text):
    field = page.one(css)
    field.clear()
    field.send_keys(text)


def groups_and_tags(page, server, ids):
    page.enter(server, server.token)
    chips = lambda name: [chip.text for chip in page.row(name).find_elements("css selector", ".chip")]
    everything = ["Aardvark", "apple", "Äther", "Banana"]
    page.until(lambda _: page.order() == everything, "all accounts")
    page.in_row("Banana", "[data-key^=edit]")
    filled(page, "dialog input[name=group]", "Payments")
    filled(page, "dialog input[name=tags]", "prod, eu ,PROD")
    page.button("Save", "dialog")
    page.until(lambda _: chips("Banana") == ["Payments", "eu", "prod"], "what was typed, once each")
    page.in_row("Banana", ".chip.group")
    page.until(lambda _: page.order() == ["Banana"], "one group")
    page.in_row("Banana", ".chip.group")
    page.until(lambda _: page.order() == everything, "all again")

    # By keyboard alone: tagged, looked for, filtered.
    page.one("#search").send_keys("apple")
    page.until(lambda _: page.order() == ["apple"], "one account is found")
    page.one("#search").send_keys(Keys.ARROW_DOWN)
    page.until(lambda _: "apple" in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), "the focus is at apple")
    page.keys(Keys.F2)
    page.one("dialog input[name=tags]")
    page.tab_to("document.activeElement.name === 'tags'", "the tags")
    page.keys("prod, us", Keys.ENTER)
    page.until(lambda _: chips("apple") == ["prod", "us"], "tagged")
    page.until(lambda _: not page.all("dialog"), "the dialog is closed")
    page.keys(Keys.ARROW_RIGHT)
    page.until(lambda _: page.focused("textContent") == "prod", "the arrows reach a row's tags")
    page.one("#search").send_keys(Keys.ESCAPE)
    page.until(lambda _: len(page.order()) == 4, "all again")
    page.tab_to("document.activeElement.id === 'only'", "what is shown")
    page.keys("prod")
    page.until(lambda _: page.order() == ["apple", "Banana"], "with one tag")
    page.says("#count", "2 of 4 accounts")
    picked(page, "#only", "all")
    page.one("#search").send_keys("payments")
    page.until(lambda _: page.order() == ["Banana"], "found by its group")
    page.one("#search").send_keys(Keys.ESCAPE)
    picked(page, "#sort", "group")
    page.until(lambda _: page.order()[0] == "Banana", "groups first")
    picked(page, "#sort", "service")
    found = server.call("GET", "/api/accounts?tag=PROD")["accounts"]
    assert {account["issuer"] for account in found} == {"apple", "Banana"}, found


# Adding accounts.

def added(page, text, count=1):
    page.until(lambda _: sum(text in work.text for work in page.all(".work")) >= count, f"{text!r} is told")


def choose(page, *names):
    page.all("input[name=files]")[0].send_keys("\n".join(str(name) for name in names))


def close_works(page):
    while page.all(".work"):
        page.click(".work button", "Close")


def adding(page, server):
    """By mouse: chosen, dropped and pasted pictures, links, secrets and exports."""
    page.enter(server, server.token)
    page.click("nav a", "Add")
    page.says("h1", "Add accounts")
    choose(page, TOKEN)
    added(page, "2FAS Test Token: Added.")
    page.says(".steps .done", "Stored")
    page.drop(".drop", TOKEN)
    added(page, "2FAS Test Token: Added.", 2)
    page.paste_picture(TOKEN)
    added(page, "2FAS Test Token: Added.", 3)
    # What is dropped on another view is for this one.
    page.click("nav a", "Accounts")
    page.says(".account", "Test Token")
    page.drop("#main", TOKEN)
    page.says("h1", "Add accounts")
    added(page, "2FAS Test Token: Added.")
    close_works(page)

    # The doctor: what it is instead, and where it is in the picture.
    choose(page, CORPUS.parent / "photos/jsqr-150.png")
    added(page, "It cannot be added.")
    page.until(lambda _: page.all(".picture polygon"), "what was found is drawn on the picture")
    page.until(lambda _: page.script("return document.querySelector('.picture img').naturalWidth") > 0, "the picture is shown")
    close_works(page)

    # All accounts of a picture, to pick from.
    choose(page, CORPUS / "four-grid.png")
    added(page, "Which accounts do you want to add?")
    assert len(page.all(".picks input")) == 4
    page.click(".picks label")
    page.button("Add 3 accounts")
    added(page, "Added 3 accounts.")
    added(page, "left out")
    choose(page, CORPUS / "four-grid.png", CORPUS / "two-side-by-side.png")
    added(page, "exists already")
    page.until(lambda _: page.all(".picks input"), "what is new")
    close_works(page)

    # A part of an export is not the whole.
    choose(page, CORPUS / "migration-batch-1of3.png")
    added(page, "not all were sent")
    close_works(page)

    export = server.folder.parent / "export.json"
    export.write_text(json.dumps({"encrypted": False, "items": [
        {"name": "Forge", "login": {"username": "smith", "totp": f"otpauth://totp/Forge:smith?secret={SECRET}&issuer=Forge"}},
        {"name": "Broken", "login": {"username": "x", "totp": "otpauth://hotp/x?secret=AAAA&counter=1"}}]}))
    choose(page, export)
    added(page, "counter-based")
    page.button("Add 1 account")
    added(page, "Added 1 account.")
    export.unlink()
    close_works(page)

    page.click("summary", "Type it by hand")
    page.one("input[name=link]").send_keys(f"otpauth://totp/By%20hand?secret={SECRET}", Keys.ENTER)
    added(page, "By hand: Added.")
    page.one("input[name=link]").send_keys(SECRET.lower())
    page.button("Add")
    page.says(".complaint", "Enter an account name")
    page.one("input[name=account]").send_keys("bare secret", Keys.ENTER)
    added(page, "bare secret: Added.")
    page.one("input[name=link]").send_keys("otpauth://totp/wrong?secret=018", Keys.ENTER)
    added(page, "It cannot be added.")
    added(page, "base32")
    page.click(".work a", "Show its code")
    page.says(".account", "bare secret")
    assert SECRET not in page.script("return document.documentElement.outerHTML")


def encrypted_export(page, server):
    """An export under a password, which is asked for and may be wrong; by keyboard alone, too."""
    page.enter(server, server.token)
    page.open("#/add")
    choose(page, EXPORT)
    added(page, "password")
    page.one("input[name=export-password]").send_keys("wrong")
    page.button("Open")
    added(page, "The password is wrong")
    # What has the focus is the password, so that it can be typed again at once.
    page.until(lambda _: page.focused("name") == "export-password" and page.focused("value") == "", "the password is asked for again")
    page.keys(PASSWORD, Keys.ENTER)
    added(page, "Which accounts do you want to add?")
    page.until(lambda _: page.focused("type") == "checkbox", "the focus is at the first account")
    page.tab_to("document.activeElement.textContent.startsWith('Add ')", "adding")
    page.keys(Keys.ENTER)
    added(page, "Added ")
    assert PASSWORD not in page.script("return document.documentElement.outerHTML")


# Proving.

def accept(page, press):
    """Waits until both codes count and says that they were accepted."""
    page.until(lambda _: page.all("[data-key^=proved-]")[0].is_enabled(), "both codes count")
    shown = ["".join(code.text.split()) for code in page.all(".proof .digits")]
    assert len(shown) == 2 and all(code.isdigit() for code in shown), shown
    press()


def proving(page, server):
    page.enter(server, server.token)
    page.open("#/add")
    link = lambda name: f"otpauth://totp/Proof:{name}?secret={SECRET}&issuer=Proof&period=10"
    page.click("label.check", "Prove it")
    page.click("summary", "Type it by hand")
    page.one("input[name=link]").send_keys(link("mouse"), Keys.ENTER)
    added(page, "Proof mouse: Stored; it still has to be proved.")
    pending = lambda: {account["accountName"]: account for account in server.call("GET", "/api/accounts?search=proof")["accounts"]}
    assert pending()["mouse"]["state"] == "pending"
    accept(page, lambda: page.button("Both were accepted"))
    added(page, "Proof mouse: Added.")
    assert pending()["mouse"]["state"] == "active"

    # By keyboard alone.
    page.script("document.activeElement.blur()")
    page.tab_to("document.activeElement.name === 'link'", "the link")
    page.keys(link("keys"), Keys.ENTER)
    added(page, "Proof keys: Stored; it still has to be proved.")

    def press():
        page.tab_to("document.activeElement.textContent === 'Both were accepted'", "that both were accepted")
        page.keys(Keys.ENTER)
    accept(page, press)
    added(page, "Proof keys: Added.")

    def by_keyboard():
        page.tab_to("document.activeElement.textContent === 'They were refused'", "that they were refused")
        page.keys(Keys.ENTER)
    for name, refuse in (("refused", lambda: page.button("They were refused")), ("refused-by-keys", by_keyboard)):
        page.one("input[name=link]").send_keys(link(name), Keys.ENTER)
        added(page, f"Proof {name}: Stored; it still has to be proved.")
        refuse()
        added(page, f"Proof {name}: Removed, because")
        assert name not in pending()

    # Later, from the list.
    server.call("POST", "/api/accounts?proof=required", {"uri": link("later")})
    page.click("nav a", "Accounts")
    page.until(lambda _: "to be proved" in page.row("later").text, "it waits to be proved")
    picked(page, "#only", "to be proved")
    page.until(lambda _: len(page.order()) == 1, "those that wait")
    page.in_row("later", ".code")
    page.says("dialog h2", "Prove Proof later")
    accept(page, lambda: page.button("Both were accepted", "dialog"))
    page.says("#toast", "Proof later is in use.")
    picked(page, "#only", "all")
    # Only what is in view gets codes.
    page.one("#search").send_keys("later")
    page.shows_the_servers_code(server, "later", pending()["later"]["id"])

    # The same by keyboard alone.
    server.call("POST", "/api/accounts?proof=required", {"uri": link("at-leisure")})
    filled(page, "#search", "at-leisure")
    page.until(lambda _: len(page.order()) == 1 and "to be proved" in page.row("at-leisure").text, "it waits to be proved")
    page.one("#search").send_keys(Keys.ARROW_DOWN)
    page.until(lambda _: "at-leisure" in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), "the focus is there")
    page.keys(Keys.ENTER)
    page.says("dialog h2", "Prove Proof at-leisure")
    accept(page, press)
    page.says("#toast", "Proof at-leisure is in use.")
    assert pending()["at-leisure"]["state"] == "active"


def adding_by_keyboard(page, server):
    page.enter(server, server.token)
    page.tab_to("document.activeElement.textContent === 'Add'", "Add")
    page.keys(Keys.ENTER)
    page.says("h1", "Add accounts")
    page.tab_to("document.activeElement.name === 'files'", "the file picker")
    page.tab_to("document.activeElement.tagName === 'SUMMARY'", "typing by hand")
    page.keys(Keys.ENTER)
    page.tab_to("document.activeElement.name === 'link'", "the link")
    page.keys(f"otpauth://totp/Keys:only?secret={SECRET}&issuer=Keys", Keys.ENTER)
    added(page, "Keys only: Added.")
    # A picture in the clipboard goes in with the keys too.
    page.tab_to("document.activeElement.tagName === 'SUMMARY'", "somewhere else than the link")
    page.paste_picture(CORPUS / "two-side-by-side.png")
    added(page, "Which accounts do you want to add?")
    page.until(lambda _: page.focused("type") == "checkbox", "the focus is at the first account")
    page.tab_to("document.activeElement.textContent.startsWith('Add ')", "adding")
    page.keys(Keys.ENTER)
    added(page, "Added 2 accounts.")


# Deciding.

def asked(page, text, name=None):
    """Asks for approval of an account by its link."""
    page.browser.get("about:blank")
    page.open("#/add")
    page.click("label.check")
    page.click("summary", "Type it by hand")
    page.one("input[name=link]").send_keys(text, Keys.ENTER)
    if name:
        added(page, f"{name}: Waiting for another person’s approval.")


def approvals(page, server, other):
    """By two people in two browsers: approved, refused, ended."""
    page.enter(server, server.token)
    other.enter(server, server.key("second-pair-of-eyes", "approver"))
    other.says("h1", "Approvals")
    other.says("main", "Nothing is waiting for you.")
    link = lambda account: f"otpauth://totp/Bank:{account}?secret={SECRET}&issuer=Bank&digits=8"

    asked(page, link("first"), "Bank first")
    other.says(".card h2", "Bank first")
    other.says(".card dl", "8 digits every 30 s, SHA1")
    other.says(".card dl", "admin")
    other.says("nav .count", "1")
    # Not by whoever asked for it.
    page.click("nav a", "Approvals")
    page.says(".card", "This is your own request")
    page.until(lambda _: not any(b.is_displayed() for b in page.all(".card button")), "nothing to decide with")

    other.one(".card textarea").send_keys("seen on the shared screen")
    other.button("Approve")
    other.says("#toast", "Approved: Bank first.")
    other.says("main", "Nothing is waiting for you.")

    asked(page, link("second"), "Bank second")
    other.says(".card h2", "Bank second")
    # By keyboard alone.
    other.script("document.activeElement.blur()")
    other.tab_to("document.activeElement.tagName === 'TEXTAREA'", "the comment")
    other.keys("not ours")
    other.tab_to("document.activeElement.textContent === 'Reject'", "refusing")
    other.keys(Keys.ENTER)
    other.says("#toast", "Rejected: Bank second.")
    added(page, "Bank second: Rejected.")
    added(page, "Rejected by second-pair-of-eyes")
    added(page, "Comment: not ours")

    asked(page, link("third"), "Bank third")
    other.says(".card h2", "Bank third")
    page.button("Stop it")
    added(page, "Bank third: Stopped by an operator.")
    other.until(lambda _: not other.all(".card"), "it does not wait any more")


def approved_across_a_restart(page, server, other):
    page.enter(server, server.token)
    asked(page, f"otpauth://totp/Durable?secret={SECRET}", "Durable")
    server.stop()
    page.says("#link", "The server does not answer")
    server.start()
    other.says(".card h2", "Durable")
    other.button("Approve")
    added(page, "Durable: Added.")


# Operating.

def operations(page, server):
    page.enter(server, server.token)
    page.click("nav a", "Operations")
    page.says("h1", "Operations")
    page.says(".badge", "rejected")
    page.says("td", "Rejected by second-pair-of-eyes")
    page.says("td .said bdi", "not ours")
    Select(page.one(".bar select")).select_by_visible_text("added")
    page.until(lambda _: {e.text for e in page.all(".badge")} == {"added"}, "only what was added")
    Select(page.one(".bar select")).select_by_visible_text("any")
    link = page.until(lambda _: page.all("td a")[0].get_attribute("href"), "a link to the instance")
    assert link.startswith(server.dashboard + "/#/hubs/default/instances/totp-"), link
    # The dashboard asks who calls; the page has a link made that logs in once.
    try:
        urllib.request.urlopen(server.dashboard + "/api/hubs", timeout=PATIENCE)
        raise AssertionError("the dashboard asks nobody")
    except urllib.error.HTTPError as refused:
        assert refused.code == 401, refused
    here = page.browser.current_window_handle
    page.click("td a")
    page.until(lambda _: len(page.browser.window_handles) == 2, "the dashboard in a tab of its own")
    page.browser.switch_to.window(page.browser.window_handles[1])
    page.until(lambda _: link.rsplit("/", 1)[1] in page.one("main").text, "the instance, logged in")
    assert "ticket" not in page.browser.current_url, page.browser.current_url
    page.browser.close()
    page.browser.switch_to.window(here)

    page.click(".tabs a", "Audit log")
    page.says("td", "Read a code")
    page.one("input[name=caller]").send_keys("second-pair-of-eyes", Keys.ENTER)
    page.until(lambda _: page.all("tbody tr") and all("second-pair-of-eyes" in row.text for row in page.all("tbody tr")), "one caller's doings")
    page.says("td", "seen on the shared screen")
    page.click(".tabs a", "Keys")
    page.says("td", "second-pair-of-eyes")
    page.says("td", "approver")
    page.click(".tabs a", "Health")
    page.until(lambda _: [e.text for e in page.all(".badge")] == ["reachable", "reachable"], "hub and vault answer")
    page.says("dd", "agrees with the server's")


def keys_and_grants(page, server, ids):
    """By mouse: a key is made and shown once, lent an account, and revoked."""
    page.enter(server, server.token)
    page.open("#/operations/keys")
    page.button("Create a key")
    page.one("dialog input[name=name]").send_keys("robot")
    page.click("dialog label.check", "Only accounts that are granted to it")
    page.button("Create a key", "dialog")
    page.says("dialog h2", "The key robot")
    key = page.one("dialog .secret-text").text
    page.button("Copy", "dialog")
    page.until(lambda _: page.clipboard() == key, "the key is in the clipboard")
    page.button("I have saved it", "dialog")
    page.says("td", "reader, of granted accounts")
    assert key not in page.script("return document.documentElement.outerHTML")
    assert server.call("GET", "/api/accounts", token=key)["accounts"] == []

    page.click(".tabs a", "Grants")
    page.says("main", "There are no grants.")
    page.button("Grant an account")
    page.one("dialog input[name=to]").send_keys("robot")
    picked(page, "dialog select[name=account]", "Banana bea@example.com")
    page.one("dialog input[name=reads]").send_keys("3")
    page.button("Grant an account", "dialog")
    page.says("td", "Banana bea@example.com")
    page.says("td", "3")
    assert [account["id"] for account in server.call("GET", "/api/accounts", token=key)["accounts"]] == [ids["Banana"]]
    page.button("Remove")
    page.says("dialog h2", "Remove the grant of Banana bea@example.com to robot?")
    page.button("Remove", "dialog")
    page.says("main", "There are no grants.")
    page.click(".tabs a", "Keys")
    page.click("[data-key=revoke-robot]")
    page.button("Revoke", "dialog")
    page.says("td", "revoked")
    try:
        server.call("GET", "/api/accounts", token=key)
        raise AssertionError("a revoked key works")
    except urllib.error.HTTPError as error:
        assert error.code == 401, error

    # By keyboard alone.
    page.script("document.activeElement.blur()")
    page.tab_to("document.activeElement.textContent === 'Create a key'", "making a key")
    page.keys(Keys.ENTER)
    page.until(lambda _: page.focused("name") == "name", "the name of the key")
    page.keys("typed", Keys.ENTER)
    page.says("dialog h2", "The key typed")
    page.tab_to("document.activeElement.textContent === 'I have saved it'", "the end")
    page.keys(Keys.ENTER)
    page.until(lambda _: not page.all("dialog"), "the dialog is closed")
    page.says("td", "typed")
    page.tab_to("document.activeElement.dataset.key === 'revoke-typed'", "revoking it")
    page.keys(Keys.ENTER)
    page.says("dialog h2", "Revoke the key typed?")
    page.keys(Keys.ESCAPE)
    page.until(lambda _: not page.all("dialog"), "the dialog is closed")
    server.key("looker-at-night", "reader", "--granted-only")
    # For the pictures.
    server.key("night-shift", "reader", "--granted-only")
    for name, reads in (("apple", 5), ("Banana", None)):
        server.call("POST", "/api/grants", {"caller": "night-shift", "account": ids[name], "reads": reads})
    page.click(".tabs a", "Grants")
    page.tab_to("document.activeElement.textContent === 'Grant an account'", "granting")
    page.keys(Keys.ENTER)
    page.one("dialog input[name=to]")
    page.tab_to("document.activeElement.name === 'to'", "to whom") if page.focused("name") != "to" else None
    page.keys("looker-at-night")
    page.tab_to("document.activeElement.name === 'account'", "the account")
    page.keys("Banana")
    page.until(lambda _: "Banana" in page.focused("selectedOptions[0].textContent"), "the account is picked")
    page.tab_to("document.activeElement.name === 'reads'", "how often")
    page.keys("2", Keys.ENTER)
    granted = lambda: [row.text for row in page.all("tbody tr") if "looker-at-night" in row.text]
    page.until(lambda _: len(granted()) == 1 and "Banana" in granted()[0], "it is granted")
    page.script("document.activeElement.blur()")
    page.tab_to("(document.activeElement.dataset.key ?? '').startsWith('withdraw-looker-at-night')", "taking it back")
    page.keys(Keys.ENTER)
    page.says("dialog h2", "Remove the grant of Banana")
    page.tab_to("document.activeElement.textContent === 'Remove'", "that it is meant") if page.focused("textContent") != "Remove" else None
    page.keys(Keys.ENTER)
    page.until(lambda _: not page.all("dialog") and not granted(), "it is taken back")
    page.says("td", "night-shift")


def each_role_sees_its_own(page, server):
    page.enter(server, server.key("starter", "enroller"))
    page.says("h1", "Add accounts")
    page.until(lambda _: [a.text for a in page.all("#header nav a")] == ["Add", "Operations"], "an enroller's views")
    page.click("nav a", "Operations")
    page.says("main", "There are no entries.")
    assert [tab.text for tab in page.all(".tabs a")] == ["Enrollments", "Requests"]
    page.enter(server, server.key("looker", "reader", "--granted-only"))
    page.says("main", "No account is granted to you yet.")
    page.until(lambda _: [a.text for a in page.all("#header nav a")] == ["Accounts", "Operations"], "a reader's views")
    assert page.one("label.check input").is_selected(), "who has few reads does not spend them by looking"
    assert not page.all("[data-key^=remove]")
    page.open("#/operations")
    page.says("main", "There are no requests.")
    assert not page.all(".tabs")


def requests(page, server, other, ids):
    """What takes a second person: asked for and used by one, decided by another."""
    page.enter(server, server.token)
    other.enter(server, server.key("request-approver", "approver"))
    other.says("h1", "Approvals")
    page.in_row("Banana", "[data-key^=ask]")
    page.says("dialog h2", "Request an action on Banana bea@example.com")
    picked(page, "dialog select[name=kind]", "export")
    page.one("dialog input[name=reason]").send_keys("moving house")
    page.button("Send the request", "dialog")
    page.says("#toast", "Export Banana bea@example.com")
    other.says(".card h2", "Export Banana bea@example.com")
    for fact in ("Give its secret to the requester, once, within 1 hour", "admin", "moving house"):
        other.says(".card dl", fact)
    other.button("Approve")
    other.says("#toast", "Approved: Export Banana")
    page.click("nav a", "Operations")
    page.click(".tabs a", "Requests")
    page.says(".badge", "granted")
    page.button("Fetch it")
    page.until(lambda _: page.one("dialog .secret-text").text.startswith("otpauth://totp/Banana"), "the link")
    page.until(lambda _: page.script("return document.querySelector('.code-picture').naturalWidth") > 0, "the QR code is shown")
    page.button("Close", "dialog")
    page.says(".badge", "done")
    assert SECRET not in page.script("return document.documentElement.outerHTML")

    # By keyboard alone, on both sides.
    page.open("#/accounts")
    page.one("#search").send_keys("Aardvark")
    page.until(lambda _: page.order() == ["Aardvark"], "one account is found")
    page.one("#search").send_keys(Keys.ARROW_DOWN)
    page.until(lambda _: "Aardvark" in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), "the focus is at Aardvark")
    for _ in range(10):
        page.keys(Keys.ARROW_RIGHT)
        if page.focused("textContent") == "Request":
            break
    page.keys(Keys.ENTER)
    page.until(lambda _: page.focused("name") == "kind", "what is asked for")
    page.keys("delete")
    page.until(lambda _: page.focused("value") == "delete", "deletion for good")
    page.tab_to("document.activeElement.name === 'reason'", "the reason")
    page.keys("left the company", Keys.ENTER)
    page.says("#toast", "permanently")
    other.says(".card h2", "Delete Aardvark")
    other.script("document.activeElement.blur()")
    other.tab_to("document.activeElement.tagName === 'TEXTAREA'", "the comment")
    other.keys("still needed")
    other.tab_to("document.activeElement.textContent === 'Reject'", "refusing")
    other.keys(Keys.ENTER)
    other.says("#toast", "Rejected: Delete Aardvark")
    page.open("#/operations/requests")
    page.says("td", "Rejected by request-approver")
    page.says("td .said bdi", "still needed")

    # An account whose readings need approval.
    page.open("#/accounts")
    page.in_row("apple", "[data-key^=edit]")
    page.click("dialog label.check", "needs approval")
    page.button("Save", "dialog")
    page.until(lambda _: "needs approval" in page.row("apple").text, "no code without an approval")
    page.in_row("apple", ".code")
    page.button("Send the request", "dialog")
    other.says(".card h2", "Read codes of apple")
    other.button("Approve")
    page.open("#/operations/requests")
    page.button("Read a code")
    page.until(lambda _: "".join(page.one("dialog .digits").text.split()).isdigit(), "a code")
    page.button("Close", "dialog")
    server.call("PATCH", f"/api/accounts/{ids['apple']}", {"readApproval": False})
    # Taken back by whoever asked.
    server.call("POST", f"/api/accounts/{ids['apple']}/requests", {"kind": "read"})
    page.says(".badge", "waiting for approval")
    page.button("Withdraw")
    page.button("Withdraw", "dialog")
    page.says(".badge", "withdrawn")


def expired(page, program, folder):
    """On a server of its own, where nobody has time."""
    server = Server(program, folder, approval_timeout="2s")
    try:
        hurried = Countersign(page.browser, server.http, page.pictures, page.kind)
        hurried.enter(server, server.token)
        asked(hurried, f"otpauth://totp/Late?secret={SECRET}")
        added(hurried, "Late: Nobody decided in time. Add it again.")
        server.stop()
    finally:
        server.process.kill()


# The page as such.

VIEWS = [("#/accounts", "Accounts", ".account", "accounts"), ("#/add", "Add accounts", ".drop", "add"), ("#/approvals", "Approvals", ".card", "approvals"),
         ("#/operations", "Operations", "tbody tr", "operations"), ("#/operations/requests", "Operations", "tbody tr", "requests"), ("#/operations/record", "Operations", "tbody tr", "record"),
         ("#/operations/keys", "Operations", "tbody tr", "keys"), ("#/operations/grants", "Operations", "tbody tr", "grants"), ("#/operations/health", "Operations", ".card .badge", "health"), ("#/settings", "Settings", "#theme", "settings")]


def every_view(page):
    """Opens one after the other, and says which it is once it has something to show."""
    for hash, heading, css, name in VIEWS:
        page.open(hash)
        page.says("h1", heading)
        page.one(css)
        if name == "accounts":
            page.until(lambda _: page.all(".account .digits")[0].text[0].isdigit(), "a code")
        yield name


def every_dialog(page, server):
    """Opens one after the other, and says which it is."""
    page.open("#/accounts")
    for name, where, heading in [("edit", "[data-key^=edit]", "Edit"), ("ask", "[data-key^=ask]", "Request an action"),
                                 ("remove", "[data-key^=remove]", "Remove"), ("prove", ".code", "Prove")]:
        # Where there is no room, a row's buttons show for the row that has the focus.
        page.until(lambda _: page.script("arguments[0].focus(); return true", page.row("Waiting").find_element("css selector", ".code")), "the row")
        page.in_row("Waiting", where)
        page.says("dialog h2", heading)
        yield name
        page.keys(Keys.ESCAPE)
        page.until(lambda _: not page.all("dialog"), "the dialog is closed")
    for hash, button in [("#/operations/keys", "Create a key"), ("#/operations/grants", "Grant an account")]:
        page.open(hash)
        page.button(button)
        page.says("dialog h2", button)
        yield button
        page.keys(Keys.ESCAPE)
        page.until(lambda _: not page.all("dialog"), "the dialog is closed")


def seen(page, server, axe):
    """Light and dark, on a desk and on a phone, with no barrier that axe-core finds."""
    other = server.key("colleague", "enroller")
    server.call("POST", "/api/enrollments?approval=required", {"uri": f"otpauth://totp/Bank:audit?secret={SECRET}&issuer=Bank"}, other)
    server.call("POST", "/api/accounts?proof=required", {"uri": f"otpauth://totp/Waiting?secret={SECRET}"})
    account = server.call("GET", "/api/accounts?search=banana")["accounts"][0]["id"]
    server.call("POST", f"/api/accounts/{account}/requests", {"kind": "read", "reads": 2, "reason": "release tonight"}, server.key("release-team", "reader"))
    # Fewer of one kind and some that people know, for the pictures.
    for copy in server.call("GET", "/api/accounts?search=2fas")["accounts"][1:]:
        server.call("DELETE", f"/api/accounts/{copy['id']}")
    known = [server.add(issuer, account) for issuer, account in (("GitHub", "octo@example.com"), ("Cloudflare", "ops@example.com"), ("Stripe", "billing@example.com"))]
    server.call("PATCH", f"/api/accounts/{known[0]}", {"group": "Engineering", "tags": ["prod"]})
    page.enter(server, server.token)
    page.script("localStorage.setItem('favourites', JSON.stringify({ admin: arguments[0] }))", known)
    page.browser.refresh()
    source = axe.read_text() if axe else None
    if source:
        # For the tool, not for the page.
        page.browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    for screen, metrics in [("desk", None), ("phone", {**PHONE, "deviceScaleFactor": 1})]:
        for scheme in ("light", "dark"):
            page.size(metrics)
            page.media(prefers_color_scheme=scheme)
            page.browser.refresh()
            for name in every_view(page):
                assert page.is_dark() == (scheme == "dark")
                if name == "add":
                    choose(page, CORPUS.parent / "photos/jsqr-150.png")
                    page.until(lambda _: page.all(".picture polygon"), "what was found")
                    choose(page, CORPUS / "four-grid.png")
                    page.until(lambda _: page.all(".picks li"), "accounts to pick from")
                assert page.width() <= page.script("return innerWidth"), f"{name} is too wide"
                page.picture(f"{name}-{screen}-{scheme}")
                if name == "settings":
                    page.click("[data-key=palette]")
                    page.says("dialog [role=option]", "Go to Accounts")
                    page.one("dialog input").send_keys("ap")
                    page.until(lambda _: page.all("dialog .tile"), "accounts")
                    page.picture(f"commands-{screen}-{scheme}")
                    page.keys(Keys.ESCAPE)
                if source:
                    page.without_barriers(source, f"{name}, {screen}, {scheme}")
            if source:
                for name in every_dialog(page, server):
                    page.without_barriers(source, f"dialog {name}, {screen}, {scheme}")
            page.button("Log out", "#header")
            page.says("h1", "Log in")
            page.picture(f"login-{screen}-{scheme}")
            if source:
                page.without_barriers(source, f"login, {screen}, {scheme}")
            page.enter(server, server.token)
    page.size()
    page.media()
    if source:
        page.browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})


def narrow_wide_and_from_right_to_left(page, server):
    page.enter(server, server.token)
    for width in (320, 768, 2560):
        page.size({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500})
        for way in ("ltr", "rtl"):
            for name in every_view(page):
                page.script("document.documentElement.dir = arguments[0]", way)
                assert page.script("return document.documentElement.scrollWidth <= innerWidth"), f"{name}, {width}, {way}"
                start = page.script("const { left, right } = document.querySelector('.brand').getBoundingClientRect(); return left < innerWidth - right")
                assert start == (way == "ltr"), f"{name} begins at the wrong side"
    page.size()
    page.browser.refresh()
    page.open("#/accounts")
    page.one(".account")
    moves = lambda: page.script("return getComputedStyle(document.querySelector('.arc')).transitionDuration")
    page.media(prefers_reduced_motion="no-preference")
    page.until(lambda _: moves() == "0.2s", "the ring moves")
    page.media(prefers_reduced_motion="reduce")
    page.until(lambda _: moves() == "0s", "the ring does not move for who does not want that")
    page.media()


def without_its_server(page, server, ids):
    page.enter(server, server.token)
    page.shows_the_servers_code(server, "Banana", ids["Banana"])
    page.until(lambda _: page.script("return navigator.serviceWorker.controller !== null"), "the worker looks after the page")
    page.browser.refresh()
    page.shows_the_servers_code(server, "Banana", ids["Banana"])
    assert not page.browser.execute_cdp_cmd("Page.getInstallabilityErrors", {})["installabilityErrors"]
    kept = page.browser.execute_async_script("""
        const done = arguments[0];
        (async () => {
          const kept = [];
          for (const name of await caches.keys()) kept.push(...(await (await caches.open(name)).keys()).map((request) => new URL(request.url).pathname));
          return { kept, stored: Object.keys(localStorage).concat(Object.keys(sessionStorage)), databases: await indexedDB.databases() };
        })().then(done);""")
    assert "/" in kept["kept"] and not any(path.startswith("/api/") for path in kept["kept"]), kept
    assert set(kept["stored"]) <= {"hide", "hide-granted", "sort", "theme", "language", "favourites"} and kept["databases"] == [], kept
    server.stop()
    page.browser.refresh()
    page.says("#link", "not available offline")
    assert "Banana" not in page.script("return document.documentElement.outerHTML")
    server.start()
    page.shows_the_servers_code(server, "Banana", ids["Banana"])


def strict(page, server):
    """What the browser is told not to let this page do, it does not let it do."""
    page.enter(server, server.token)
    for wrong in ("document.body.innerHTML = '<b>text</b>'", "eval('1')", "new Function('1')", "trustedTypes.createPolicy('other', {})"):
        # In a turn of its own: what the driver runs itself may do more.
        refused = page.browser.execute_async_script(f"const done = arguments[0]; setTimeout(() => {{ try {{ {wrong}; done(false); }} catch (error) {{ done(true); }} }})")
        assert refused, wrong
    inline = page.script("const style = document.createElement('style'); style.textContent = 'body { opacity: 0 }'; document.body.append(style);"
                         "return getComputedStyle(document.body).opacity")
    assert inline == "1", inline
    page.browser.get_log("browser")  # Those complaints were wanted.
    loaded = page.script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert all(address.startswith(server.http) for address in loaded), loaded


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    parser.add_argument("--axe", type=pathlib.Path, help="axe-core, to look for barriers")
    parser.add_argument("--only", nargs="*", help="only these steps")
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp())
    server = Server(options.program, folder / "data")
    ids = {
        "Äther": server.add("Äther", "aer@example.com"),
        "apple": server.add("apple", "ada@example.com", period=15),
        "Banana": server.add("Banana", "bea@example.com"),
        "zebra": server.add("zebra", "zoe@example.com", digits=8, algorithm="SHA256"),
    }
    browsers = []

    def person(kind):
        browser = chromium()
        browsers.append(browser)
        browser.execute_cdp_cmd("Browser.grantPermissions", {
            "origin": server.http, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        return Countersign(browser, server.http, options.pictures, kind)

    try:
        page, other = person("page"), person("page")
        steps = [(logging_in, []), *((step, [ids]) for step in (accounts, accounts_by_keyboard, groups_and_tags, hidden_until_touched, with_a_wrong_clock, restarted)),
                 (adding, []), (adding_by_keyboard, []), (encrypted_export, []), (proving, []), (approvals, [other]), (approved_across_a_restart, [other]), (operations, []), (requests, [other, ids]), (keys_and_grants, [ids]), (each_role_sees_its_own, []),
                 (seen, [options.axe]), (narrow_wide_and_from_right_to_left, []), (without_its_server, [ids]), (strict, [])]
        for step, more in steps:
            if options.only and step.__name__ not in options.only:
                continue
            step(page, server, *more)
            for each in (page, other):
                each.no_complaints(COMPLAINTS.get(step.__name__, ()))
            print("ok", step.__name__, flush=True)
        server.stop()
        if not options.only or "expired" in options.only:
            expired(page, options.program, folder / "hurried")
            print("ok expired", flush=True)
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
