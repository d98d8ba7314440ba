"""What makes the page easy: commands and keys, settings, favourites, several accounts at once,
icons, the record with names, and duplicates said with what to do. By mouse and by keyboard, on
a desk and on a phone. Run by tests/browser/run."""

import argparse
import json
import pathlib
import re
import tempfile
import urllib.parse

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from browser import PHONE, chromium
from page import SECRET, Countersign, Server, added, filled, picked

OTHER = "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"
# What the steps provoke: a grant to nobody, icons that are kept away.
COMPLAINTS = {"several_at_once": ["/api/grants", "404 (Not Found)"], "icons": ["/icons/"]}
GITHUB, ACME, LONE, BANK = "GitHub", "Acme Unknown", "lone account", "Bank"


def chord(page, *keys):
    """Presses the last of these keys while the others are held."""
    action = ActionChains(page.browser)
    for key in keys[:-1]:
        action.key_down(key)
    action.send_keys(keys[-1])
    for key in keys[:-1]:
        action.key_up(key)
    action.perform()


def gone(page, css="dialog"):
    page.until(lambda _: not page.all(css), f"no {css}")


def at(page, css):
    """Waits until the focus is there."""
    page.until(lambda _: page.script("return document.activeElement.matches(arguments[0])", css), f"the focus is at {css}")


def commands(page, server, ids):
    """Ctrl-K: commands and accounts are found by typing; `?` tells the keys."""
    page.enter(server, server.token)
    page.says(".account", GITHUB)
    chord(page, Keys.CONTROL, "k")
    at(page, "dialog [role=combobox]")
    page.keys("audit")
    page.until(lambda _: [e.text.split("\n")[0] for e in page.all("[role=option]")] == ["Go to Operations: Audit log"], "one command")
    page.keys(Keys.ENTER)
    page.says(".tabs [aria-current]", "Audit log")
    gone(page)
    # An account, from another view: where its code is.
    page.click("[data-key=palette]")
    at(page, "dialog [role=combobox]")
    page.keys("octo")
    page.says("[role=option]", "octo@example.com")
    page.keys(Keys.ARROW_DOWN, Keys.ARROW_UP)
    chosen = page.script("return document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))?.ariaSelected")
    assert chosen == "true", chosen
    page.keys(Keys.ENTER)
    page.says("h1", "Accounts")
    page.until(lambda _: GITHUB in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), "the focus is at the account")
    page.until(lambda _: page.digits(GITHUB).isdigit(), "a code")
    # What matches nothing says so, and Escape changes nothing.
    chord(page, Keys.CONTROL, "k")
    at(page, "dialog [role=combobox]")
    page.keys("no such thing")
    page.says("dialog [role=status]", "Nothing matches.")
    page.keys(Keys.ESCAPE)
    gone(page)
    page.keys("?")
    page.says("dialog h2", "Keyboard shortcuts")
    for key in ("Ctrl", "F2", "Delete", "?"):
        page.says("dialog kbd", key)
    page.keys(Keys.ESCAPE)
    gone(page)
    # What is typed is typed, and opens nothing.
    page.keys("/")
    at(page, "#search")
    page.keys("?")
    assert not page.all("dialog")
    page.keys(Keys.ESCAPE)
    # Who may not read is offered no accounts, and only the views that there are.
    page.enter(server, server.key("only-approves", "approver"))
    chord(page, Keys.CONTROL, "k")
    at(page, "dialog [role=combobox]")
    offered = [e.text for e in page.all("[role=option]")]
    assert any("Go to Approvals" in each for each in offered) and not any("Accounts" in each or "Keys" in each.split() for each in offered), offered
    page.keys("octo")
    page.says("dialog [role=status]", "Nothing matches.")
    page.keys(Keys.ESCAPE)
    gone(page)


def settings(page, server, ids):
    """Light or dark, the language, whether codes are covered, and the order: kept in this browser."""
    page.enter(server, server.token)
    page.media(prefers_color_scheme="light")
    page.click("[data-key=to-settings]")
    page.says("h1", "Settings")
    assert not page.is_dark()
    picked(page, "#theme", "dark")
    page.until(lambda _: page.is_dark(), "dark by choice")
    page.browser.refresh()
    page.says("h1", "Settings")
    assert page.is_dark(), "the choice is remembered"
    picked(page, "#theme", "match the system")
    page.until(lambda _: not page.is_dark(), "as the system again")
    page.media(prefers_color_scheme="dark")
    page.until(lambda _: page.is_dark(), "with the system")
    page.media()
    page.says("dd", "administrator")

    page.click("#setting-hide")
    picked(page, "#setting-sort", "newest first")
    page.click("#header nav a", "Accounts")
    page.until(lambda _: page.all(".account .covered"), "codes are covered")
    newest = page.order()
    page.click("[data-key=to-settings]")
    page.click("#setting-hide")
    picked(page, "#setting-sort", "service")
    page.click("#header nav a", "Accounts")
    page.until(lambda _: page.order() not in ([], newest) and not page.all(".account .covered"), "as before")

    page.click("[data-key=to-settings]")
    picked(page, "#language", "Deutsch")
    page.says("h1", "Einstellungen")
    assert page.script("return document.documentElement.lang") == "de"
    chord(page, Keys.CONTROL, "k")
    at(page, "dialog [role=combobox]")
    page.keys("sprache english", Keys.ENTER)
    page.says("h1", "Settings")
    picked(page, "#language", "match the browser")
    page.says("h1", "Settings")
    kept = page.script("return Object.keys(localStorage).sort()")
    assert kept == ["hide", "sort"], kept


def favourites(page, server, ids):
    """They stand first, for this caller in this browser, by mouse and by keyboard."""
    page.enter(server, server.token)
    page.says(".account", GITHUB)
    page.until(lambda _: page.order()[0] == ACME, "by service")
    page.in_row(LONE, ".favour")
    page.until(lambda _: page.all(".account.favourite") and LONE in page.all(".account")[0].text, "it stands first")
    assert page.row(LONE).find_element("css selector", ".favour").get_attribute("aria-pressed") == "true"
    page.one("#search").send_keys(GITHUB, Keys.ARROW_DOWN)
    page.until(lambda _: GITHUB in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), "the focus is at the account")
    page.keys("f")
    page.until(lambda _: "is a favorite now" in page.one_text("#said"), "it is told")
    page.one("#search").send_keys(Keys.ESCAPE)
    page.browser.refresh()
    page.until(lambda _: len(page.all(".account.favourite")) == 2, "remembered")
    picked(page, "#only", "favorites")
    page.until(lambda _: len([row for row in page.all(".account") if row.is_displayed()]) == 2, "those only")
    # They are one caller's.
    page.enter(server, server.key("colleague", "reader"))
    page.says(".account", GITHUB)
    assert not page.all(".account.favourite")
    page.enter(server, server.token)
    page.says(".account", GITHUB)
    page.click("[data-key=to-settings]")
    page.button("Forget all favorites")
    page.click("#header nav a", "Accounts")
    page.says(".account", GITHUB)
    assert not page.all(".account.favourite")
    assert page.script("return localStorage.getItem('favourites')") is None


def several_at_once(page, server, ids):
    """Selected by mouse and by keyboard; grouped, tagged, granted, removed and brought back."""
    server.key("night-shift", "reader", "--granted-only")
    page.enter(server, server.token)
    page.says(".account", GITHUB)
    now = lambda name: server.call("GET", f"/api/accounts/{ids[name]}")
    page.click("[data-key=select]")
    page.says(".selection", "0 accounts selected")
    assert not page.one("[data-key=remove-these]").is_enabled()
    page.in_row(GITHUB, ".pick")
    page.in_row(ACME, ".pick")
    page.says(".selection", "2 accounts selected")
    page.click("[data-key=group-these]")
    page.says("dialog h2", "Group of 2 accounts")
    page.says("dialog li", "octo@example.com")
    page.one("dialog input[name=group]").send_keys("Engineering", Keys.ENTER)
    page.says("#toast", "Changed 2 accounts.")
    assert [now(name).get("group") for name in (GITHUB, ACME, LONE)] == ["Engineering", "Engineering", None]

    # By keyboard alone: x selects where the focus is.
    page.click("[data-key=end-selection]")
    page.one("#search").send_keys("octo", Keys.ARROW_DOWN)
    page.until(lambda _: GITHUB in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), "the focus is at the account")
    page.keys("x")
    page.says(".selection", "1 account selected")
    page.script("document.activeElement.blur()")
    page.tab_to("document.activeElement.dataset.key === 'tag-these'", "tagging")
    page.keys(Keys.ENTER)
    page.one("dialog input[name=more]").send_keys("prod, eu", Keys.ENTER)
    page.says("#toast", "Changed 1 account.")
    assert now(GITHUB)["tags"] == ["eu", "prod"]
    page.in_row(GITHUB, ".pick")
    page.click("[data-key=tag-these]")
    page.one("dialog input[name=less]").send_keys("PROD", Keys.ENTER)
    gone(page)
    page.until(lambda _: now(GITHUB)["tags"] == ["eu"], "a tag is taken away, whatever its case")
    page.keys(Keys.ESCAPE)
    page.until(lambda _: not page.one_text(".selection") or not page.all(".selection")[0].is_displayed(), "Escape ends it")
    page.one("#search").send_keys(Keys.ESCAPE)

    # All that are shown.
    page.until(lambda _: len(page.order()) == 4, "all again")
    page.click("[data-key=select]")
    page.click("[data-key=select-all]")
    page.says(".selection", "4 accounts selected")
    page.click("[data-key=grant-these]")
    page.one("dialog input[name=to]").send_keys("nobody-there", Keys.ENTER)
    # What went wrong is said, and those it went wrong with are still selected.
    page.says("dialog .complaint", "0 done, 4 failed")
    filled(page, "dialog input[name=to]", "night-shift")
    page.button("Grant", "dialog")
    page.says("#toast", "Granted 4 accounts.")
    assert {grant["account"] for grant in server.call("GET", "/api/grants")["grants"] if grant.get("caller") == "night-shift"} == set(ids.values())

    page.in_row(LONE, ".pick")
    page.in_row(ACME, ".pick")
    page.click("[data-key=remove-these]")
    page.says("dialog h2", "Remove 2 accounts?")
    page.button("Remove", "dialog")
    page.says("#toast", "Removed 2 accounts.")
    page.until(lambda _: len([row for row in page.all(".account") if row.is_displayed()]) == 2, "removed")
    page.button("Undo", "#toast")
    page.says("#toast", "Restored 2 accounts.")
    page.until(lambda _: len([row for row in page.all(".account") if row.is_displayed()]) == 4, "back")
    page.click("[data-key=end-selection]")
    # Who may change nothing selects nothing.
    page.enter(server, server.key("reads", "reader"))
    page.says(".account", GITHUB)
    assert not page.all("[data-key=select]") and not page.all(".pick")


def icons(page, server, ids):
    """Out of the program, by shelves; a letter where there is none, and where nothing answers."""
    page.enter(server, server.token)
    tile = lambda name: page.row(name).find_element("css selector", ".tile")
    page.until(lambda _: tile(GITHUB).find_elements("css selector", "svg path"), "an icon")
    assert tile(ACME).text == "A" and tile(LONE).text == "L"
    asked = page.script("return performance.getEntriesByType('resource').map((e) => new URL(e.name).pathname).filter((path) => path.startsWith('/icons/'))")
    assert asked and all(re.fullmatch(r"/icons/[0-9a-f]{2}\.json\.gz", path) for path in asked), asked
    assert not any("github" in path.lower() for path in asked), asked
    # By a domain's name too; what only contains a name is not taken for it.
    found = page.browser.execute_async_script("const done = arguments[1]; import('/icon-key.js').then(({ key }) => done(key(arguments[0])))", "Git-Hub É")
    assert found == "githube", found
    server.call("PATCH", f"/api/accounts/{ids[ACME]}", {"issuer": "login.github.com"})
    server.call("PATCH", f"/api/accounts/{ids[BANK]}", {"issuer": "GitHub-Bank"})
    page.browser.refresh()
    page.until(lambda _: tile("login.github.com").find_elements("css selector", "svg"), "an icon by its domain")
    page.until(lambda _: tile("GitHub-Bank").text == "G", "a letter")
    for name, issuer in ((ACME, ACME), (BANK, BANK)):
        server.call("PATCH", f"/api/accounts/{ids[name]}", {"issuer": issuer})
    # Without an answer there are letters.
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/icons/*"]})
    page.browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    page.browser.refresh()
    page.until(lambda _: tile(GITHUB).text == "G" and page.digits(GITHUB).isdigit(), "a letter, and the code all the same")
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    page.browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})


def record(page, server, ids, folder):
    """With names and times of here, by day, and as files."""
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    page.enter(server, server.token)
    page.open("#/operations/record")
    page.says("td bdi", "GitHub octo@example.com")
    page.says("td .id", ids[GITHUB])
    assert page.all("td time")[0].get_attribute("title").endswith("Z")
    search = lambda name, day: page.script("const input = document.querySelector(`input[name=${arguments[0]}]`); input.value = arguments[1]", name, day)
    search("until", "2020-01-01")
    page.button("Find")
    page.says("main", "There are no entries.")
    search("until", "")
    search("since", page.script("const d = new Date(); return `${d.getFullYear()}-${String(d.getMonth() + 1).padStart(2, '0')}-${String(d.getDate()).padStart(2, '0')}`"))
    # An account by what it is called.
    filled(page, "input[name=subject]", "octo@")
    page.button("Find")
    page.until(lambda _: page.all("tbody tr") and all("octo@example.com" in row.text for row in page.all("tbody tr")), "what was done to one account")
    filled(page, "input[name=subject]", "")
    filled(page, "input[name=caller]", "admin")
    page.button("Find")
    page.until(lambda _: page.all("tbody tr"), "what was done today")
    for kind in ("csv", "jsonl"):
        page.click(f"[data-key=download-{kind}]")
        page.says("#toast", "Downloaded")
        file = page.until(lambda _: next(folder.glob(f"countersign-record-*.{kind}")), f"a file of {kind}")
        text = page.until(lambda _: file.read_text("utf-8-sig"), "what is in it")
        if kind == "csv":
            assert text.startswith('"Number","Time (UTC)"') and '"GitHub octo@example.com"' in text
        else:
            entries = [json.loads(line) for line in text.splitlines()]
            assert len(entries) > 10 and {entry["caller"] for entry in entries} == {"admin"}
            assert [entry["sequence"] for entry in entries] == sorted((entry["sequence"] for entry in entries), reverse=True)


def one_dialog_at_a_time(page, server, ids):
    """The second waits for the first; what was begun in one that is closed is still shown."""
    page.enter(server, server.token)
    page.open("#/operations/keys")
    page.button("Create a key")
    page.says("dialog h2", "Create a key")
    # Whatever else asks meanwhile, such as an answer that came late.
    page.script("void import('/notice.js').then(({ ask }) => ask({ title: 'And now?', yes: 'Yes', run: () => {} }))")
    chord(page, Keys.CONTROL, "k")
    page.one("dialog input[name=name]").send_keys("made-slowly")
    assert [each.text for each in page.all("dialog h2")] == ["Create a key"]
    page.script("""
        const real = fetch;
        globalThis.let_go = undefined;
        globalThis.fetch = (path, options) => (path === "/api/keys" && options.method === "POST"
          ? new Promise((done) => (globalThis.let_go = done)).then(() => real(path, options)) : real(path, options));""")
    page.button("Create a key", "dialog")
    page.until(lambda _: page.script("return Boolean(globalThis.let_go)"), "it is sent")
    page.button("Cancel", "dialog")
    page.says("dialog h2", "And now?")
    page.script("globalThis.let_go()")
    page.until(lambda _: any(key["name"] == "made-slowly" for key in server.call("GET", "/api/keys")["keys"]), "the key is made")
    assert [each.text for each in page.all("dialog h2")] == ["And now?"]
    page.button("Yes", "dialog")
    page.says("dialog h2", "The key made-slowly")
    assert page.one("dialog .secret-text").text.startswith("cs_")
    page.button("I have saved it", "dialog")
    gone(page)
    # Those that wait go with the session.
    page.script("void import('/notice.js').then(({ ask }) => ['one', 'two'].map((title) => ask({ title, yes: 'Yes', run: () => {} })))")
    page.says("dialog h2", "one")
    page.script("new BroadcastChannel('session').postMessage('changed'); document.querySelector('dialog').close()")
    page.says("dialog h2", "two")
    page.browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    page.script("new BroadcastChannel('session').postMessage('changed')")
    page.says("h1", "Log in")
    gone(page)


def recovery(page, server, ids):
    """Codes come out of the clipboard, through no field, and are given out one by one."""
    page.enter(server, server.token)
    page.in_row(BANK, "[data-key^=recovery]")
    page.says("dialog", "This account has no recovery codes.")
    assert not page.one("[data-key=set-recovery]").is_enabled()
    page.browser.execute_async_script("const done = arguments[0]; navigator.clipboard.writeText('aaaa-1111\\n\\nbbbb-2222\\n').then(done)")
    page.script("document.querySelector('dialog .setting').focus()")
    chord(page, Keys.CONTROL, "v")
    page.says("dialog .setting", "2 codes were read.")
    assert "bbbb-2222" not in page.script("return document.documentElement.outerHTML")
    page.click("[data-key=set-recovery]")
    page.says("#toast", "Set the recovery codes of Bank")
    gone(page)
    count = lambda: server.call("GET", f"/api/accounts/{ids[BANK]}/recovery-codes")
    page.until(lambda _: count()["left"] == 2, "they are kept")
    page.in_row(BANK, "[data-key^=recovery]")
    page.click("[data-key=take-recovery]")
    page.until(lambda _: page.one("dialog .secret-text").text in ("aaaa-1111", "bbbb-2222"), "one of them")
    page.says("dialog", "1 of 2 recovery codes left.")
    page.keys(Keys.ESCAPE)
    gone(page)


def duplicates(page, server, ids):
    """What is there already is said with both ways out."""
    page.enter(server, server.token)
    page.open("#/add")
    page.click("summary", "Type it by hand")
    page.one("input[name=link]").send_keys(f"otpauth://totp/Copy?secret={OTHER}", Keys.ENTER)
    added(page, "Copy: Added.")
    page.says(".notice", "The same account exists already.")
    assert page.all(".notice a")[0].get_attribute("href").endswith(f"#/accounts/{ids[LONE]}")
    page.button("Remove the new one")
    added(page, "Removed Copy.")
    assert [each["accountName"] for each in server.call("GET", "/api/accounts?search=copy")["accounts"]] == []
    page.one("input[name=link]").send_keys(f"otpauth://totp/Copy?secret={OTHER}", Keys.ENTER)
    page.says(".notice a", "Show the existing one")
    page.click(".notice a", "Show the existing one")
    page.until(lambda _: LONE in page.script("return document.activeElement.closest('li')?.textContent ?? ''"), "the focus is at the one that was there")
    for account in server.call("GET", "/api/accounts?search=copy")["accounts"]:
        server.call("DELETE", f"/api/accounts/{account['id']}")


def on_a_phone(page, server, ids):
    """A row's actions are a tap away, and that tap copies nothing."""
    page.enter(server, server.token)
    page.size({**PHONE, "deviceScaleFactor": 1})
    page.browser.refresh()
    page.until(lambda _: page.digits(GITHUB).isdigit(), "a code")
    page.browser.execute_async_script("const done = arguments[0]; navigator.clipboard.writeText('mine').then(done)")
    row = page.row(GITHUB)
    page.script("arguments[0].scrollIntoView({ block: 'center' })", row)
    assert not row.find_element("css selector", "[data-key^=edit]").is_displayed()
    row.find_element("css selector", ".more").click()
    page.until(lambda _: row.find_element("css selector", "[data-key^=edit]").is_displayed(), "what can be done")
    assert row.find_element("css selector", ".more").get_attribute("aria-expanded") == "true"
    assert page.clipboard() == "mine"
    # The views are at the bottom, and nothing is under them.
    page.click("#header nav a", "Operations")
    page.says("h1", "Operations")
    below = page.script("const { bottom } = document.querySelector('#header nav').getBoundingClientRect(); return innerHeight - bottom")
    assert abs(below) < 2, below
    # Of the parts, the one that is shown is in view; a card says nothing of what is empty.
    for part in ("health", "enrollments", "keys"):
        page.open(f"#/operations/{part}")
        page.one(".card, tbody tr")
        inside = page.script("const { left, right } = document.querySelector('.tabs [aria-current]').getBoundingClientRect(); return left >= 0 && right <= innerWidth")
        assert inside, f"{part} is out of view"
    assert all(each.text.strip() for each in page.all("td") if each.is_displayed())
    page.click("#header nav a", "Accounts")
    page.click("[data-key=select]")
    page.script("arguments[0].scrollIntoView({ block: 'center' })", page.row(GITHUB))
    page.in_row(GITHUB, ".pick")
    page.says(".selection", "1 account selected")
    covered = page.script("const [bar, nav] = ['.selection', '#header nav'].map((css) => document.querySelector(css).getBoundingClientRect()); return bar.bottom > nav.top + 1")
    assert not covered, "the views hide what can be done"
    assert page.width() <= page.script("return innerWidth")
    page.click("[data-key=end-selection]")
    # On the smallest screen the first code is there at once: filters are a tap away.
    for language in ("en", "de"):
        page.script("localStorage.setItem('language', arguments[0])", language)
        page.size({"width": 320, "height": 568, "deviceScaleFactor": 1, "mobile": True})
        page.browser.refresh()
        page.until(lambda _: page.digits(GITHUB).isdigit(), "a code")
        page.script("window.scrollTo(0, 0)")
        free = page.script("return document.querySelector('#header nav').getBoundingClientRect().top - document.querySelector('.account .digits').getBoundingClientRect().bottom")
        assert free > 0, f"the first code is out of sight, {language}: {free}"
        assert page.width() <= 320, page.width()
        filters = page.one("[data-key=filters]")
        assert not page.all("#only")[0].is_displayed() and filters.get_attribute("aria-expanded") == "false"
        filters.send_keys(Keys.ENTER)
        page.until(lambda _: page.all("#only")[0].is_displayed() and filters.get_attribute("aria-expanded") == "true", "the filters")
        assert page.width() <= 320, page.width()
        Select(page.one("#only")).select_by_value("removed")
        page.until(lambda _: filters.text.endswith("(1)"), "the button says that a filter is on")
        filters.click()
        page.until(lambda _: not page.all("#only")[0].is_displayed(), "they are folded again")
    page.script("localStorage.removeItem('language')")
    page.size()
    page.browser.refresh()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    parser.add_argument("--only", nargs="*", help="only these steps")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    server = Server(options.program, folder / "data")
    add = lambda secret, account, **query: server.call("POST", "/api/accounts", {
        "uri": f"otpauth://totp/{urllib.parse.quote(account)}?{urllib.parse.urlencode({'secret': secret, **query})}"})["secretName"]
    ids = {
        GITHUB: add(SECRET, "octo@example.com", issuer=GITHUB), ACME: add(SECRET[::-1].replace("1", "A").replace("0", "B"), "ada@example.com", issuer=ACME),
        LONE: add(OTHER, LONE), BANK: add("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "bea@example.com", issuer=BANK),
    }
    browser = chromium()
    browser.execute_cdp_cmd("Browser.grantPermissions", {
        "origin": server.http, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    try:
        page = Countersign(browser, server.http, options.pictures, "page")
        for step, more in [(commands, []), (settings, []), (favourites, []), (several_at_once, []), (icons, []), (record, [folder]), (one_dialog_at_a_time, []), (recovery, []), (duplicates, []), (on_a_phone, [])]:
            if options.only and step.__name__ not in options.only:
                continue
            step(page, server, ids, *more)
            page.no_complaints(COMPLAINTS.get(step.__name__, ()))
            print("ok", step.__name__, flush=True)
        server.stop()
    except Exception:
        browser.save_screenshot(str(folder / "failed.png"))
        print(f"the page when it failed: {folder}/failed.png", flush=True)
        print(browser.find_element("css selector", "body").text[:3000], flush=True)
        raise
    finally:
        browser.quit()
        server.process.kill()


if __name__ == "__main__":
    main()
