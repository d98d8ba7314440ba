"""The scheduler's dashboard in a real browser: what a person sees and does, by mouse, by
keyboard, on a phone and in the dark, and with 100,000 instances. Run by tests/browser/run."""

import argparse
import json
import pathlib
import sqlite3
import subprocess
import tempfile
import time
import urllib.request

from durabletask import client as dt_client
from durabletask import entities as dt_entities
from durabletask import task, worker as dt_worker
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from browser import PATIENCE, PHONE, Page, chromium

MANY = 100_000


class Scheduler:
    """The real program on a data folder."""

    def __init__(self, program, folder):
        arguments = [program, "--listen", "127.0.0.1:0", "--dashboard", "127.0.0.1:0", "--json",
                     "--log", "warn", "--data-dir", str(folder)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        said = json.loads(self.process.stdout.readline())
        self.grpc = said["scheduler"].removeprefix("http://")
        self.http = said["dashboard"]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def get(self, path):
        with urllib.request.urlopen(self.http + path, timeout=PATIENCE) as answer:
            return json.load(answer)


# What runs.

def charge(_, amount):
    return {"charged": amount}


def reserve(_, item):
    if item == "unicorn":
        raise ValueError("there are no unicorns")
    time.sleep(0.2)
    return f"{item} reserved"


def pack(ctx: task.OrchestrationContext, item):
    result = yield ctx.call_activity(reserve, input=item)
    return result


def spill(_: task.OrchestrationContext, length):
    raise ValueError("x" * length)


def counter(ctx: dt_entities.EntityContext, amount):
    ctx.set_state(ctx.get_state(int, 0) + amount)


def order(ctx: task.OrchestrationContext, request):
    yield ctx.call_activity(charge, input=request["amount"])
    packed = [ctx.call_sub_orchestrator(pack, input=item, instance_id=f"{ctx.instance_id}-{n}")
              for n, item in enumerate(request["items"])]
    yield task.when_all(packed)
    ctx.set_custom_status({"stage": "waiting for approval"})
    timer = ctx.create_timer(ctx.current_utc_datetime.replace(year=2099))
    approval = ctx.wait_for_external_event("approval")
    yield task.when_any([approval, timer])
    return {"approved": approval.get_result()}


# What a person does.

def hubs_and_list(page):
    page.open("")
    page.says("h1", "Task hubs")
    page.picture("hubs")
    page.click("td a")
    page.says("h1", "Instances")
    page.says("td", "order-1")
    assert len(page.all("tbody tr")) >= 5
    page.picture("instances")
    Select(page.one("select[name=status]")).select_by_visible_text("failed")
    page.until(lambda b: "status=FAILED" in b.current_url, "the choice stands in the address")
    page.says("td", "order-broken")
    page.until(lambda _: all("FAILED" in row.text for row in page.all("tbody tr")), "only failed ones")
    page.browser.back()
    page.says("td", "order-1")
    prefix = page.one("input[name=prefix]")
    prefix.send_keys("order-1", Keys.ENTER)
    page.until(lambda _: len(page.all("tbody tr")) == 3, "an order and its two children")


def one_instance(page):
    page.open("#/hubs/default/instances/order-1")
    page.says("h1", "order-1")
    page.says(".badge", "RUNNING")
    page.says("figure", "waiting for approval")
    labels = page.until(lambda _: [e.text for e in page.all(".what")] or None, "bars")
    assert labels[:2] == ["started", "charge"] and labels.count("pack") == 2 and "timer" in labels, labels
    page.click("button.span", "charge")
    page.says("#chosen", '"charged": 30')
    page.says("section[aria-label='Parent and children'] td", "order-1-0")
    page.picture("instance")
    page.click("section[aria-label='Parent and children'] td a")
    page.says("h1", "order-1-0")
    page.click("[data-key=parent]")
    page.says("h1", "order-1")


def operations(page):
    page.open("#/hubs/default/instances/order-1")
    page.button("Suspend")
    page.says("dialog h2", "Suspend?")
    page.button("Cancel", "dialog")
    page.until(lambda _: not page.all("dialog"), "nothing is done without a yes")
    page.button("Suspend")
    page.button("Suspend", "dialog")
    page.says(".badge", "SUSPENDED")
    page.button("Resume")
    page.button("Resume", "dialog")
    page.says(".badge", "RUNNING")

    page.button("Raise event")
    page.one("dialog input[name=name]").send_keys("approval")
    page.one("dialog textarea").send_keys("{no json")
    page.button("Raise event", "dialog")
    page.says("dialog .trouble", "not JSON")
    page.picture("raise-event")
    payload = page.one("dialog textarea")
    payload.clear()
    payload.send_keys('{"by": "a person"}')
    page.button("Raise event", "dialog")
    # The page is told of the end by itself.
    page.says(".badge", "COMPLETED")
    page.says("figure", '"by": "a person"')

    page.open("#/hubs/default/instances/order-broken")
    page.says(".failure", "there are no unicorns")
    page.picture("failure")

    page.open("#/hubs/default/instances/order-2")
    page.button("Terminate")
    page.one("dialog textarea").send_keys('"enough"')
    page.button("Terminate", "dialog")
    page.says(".badge", "TERMINATED")
    page.button("Purge")
    page.button("Purge", "dialog")
    page.says("h1", "Instances")
    page.open("#/hubs/default/instances/order-2")
    page.says(".trouble", "There is no such instance")


def restart(page, scheduler):
    page.open("#/hubs/default/instances/order-broken-0")
    page.says(".badge", "FAILED")
    before = scheduler.get("/api/hubs/default/instances/order-broken-0")["instance"]["executionId"]
    page.button("Restart")
    page.button("Restart", "dialog")
    changed = lambda _: scheduler.get("/api/hubs/default/instances/order-broken-0")["instance"]["executionId"] != before
    page.until(changed, "a new execution")
    page.says(".badge", "FAILED")


def fork(page, scheduler):
    page.open("#/hubs/default/instances/order-broken")
    page.says(".badge", "FAILED")
    page.click("button[data-key='fork 2']")
    page.says("dialog", "up to the event 2")
    page.one("dialog input[name=instanceId]").send_keys("order-broken")
    page.button("Fork", "dialog")
    page.says("dialog .trouble", "already exists")
    page.picture("fork")
    name = page.one("dialog input[name=instanceId]")
    name.clear()
    name.send_keys("order-forked")
    page.button("Fork", "dialog")
    page.says("h1", "order-forked")
    page.says("dl", "durabletask.forkedFrom")
    page.says(".badge", "FAILED")


def by_keyboard(page):
    page.browser.get("about:blank")
    page.open("#/hubs/default")
    page.says("td", "order-1")
    page.keys(Keys.TAB)
    assert page.focused("textContent") == "Skip to the content"
    page.keys(Keys.ENTER)
    assert page.focused("tagName") == "MAIN"
    for _ in range(40):
        page.keys(Keys.TAB)
        if page.focused("dataset.key") == "order-3":
            break
    page.keys(Keys.ENTER)
    page.says("h1", "order-3")
    page.until(lambda _: any(b.text == "Suspend" for b in page.all("main button")), "button Suspend")
    for _ in range(40):
        page.keys(Keys.TAB)
        if page.focused("textContent") == "Suspend":
            break
    page.keys(Keys.ENTER)
    page.one("dialog")
    page.keys(Keys.ESCAPE)
    page.until(lambda _: not page.all("dialog"), "Escape closes")


def entities(page):
    page.open("#/hubs/default/entities")
    page.says("td", "@counter@one")
    page.click("td a")
    page.says("h1", "@counter@one")
    page.says("figure", "5")
    page.button("Signal")
    page.one("dialog input[name=name]").send_keys("add")
    page.one("dialog textarea").send_keys("37")
    page.button("Signal", "dialog")
    page.says("figure", "42")
    page.picture("entity")


def workers(page):
    page.open("#/hubs/default/workers")
    page.says("td", "of 100")
    page.picture("workers")


def on_a_phone_and_in_the_dark(page):
    page.size(PHONE)
    page.media(prefers_color_scheme="dark")
    for hash, text, name in [("#/hubs/default", "Instances", "instances-phone-dark"), ("#/hubs/default/instances/order-1", "order-1", "instance-phone-dark")]:
        page.open(hash)
        page.says("h1", text)
        page.until(lambda _: page.all(".badge"), "content")
        assert page.width() <= PHONE["width"], f"{hash} is {page.width()} wide"
        page.picture(name)
    assert page.is_dark()
    page.size()
    page.media()


def any_name(page, client):
    """Names and messages that anybody can give: each is opened, and none makes the page wide or
    turns what is around it."""
    names = [".", "..", "=", "=.", "a/b?c#d", "long-" + "x" * 90, "\u202eturned"]
    for name in names:
        client.schedule_new_orchestration(pack, input="unicorn", instance_id=name)
        client.wait_for_orchestration_completion(name, timeout=PATIENCE)
    client.schedule_new_orchestration("n" * 1_000, instance_id="named")
    client.schedule_new_orchestration(spill, input=65_000, instance_id="wide")
    client.wait_for_orchestration_completion("wide", timeout=PATIENCE)
    page.open("#/hubs/default")
    for name in names:
        link = "a[data-key=\"" + name.replace("\u202e", "\\202e ") + "\"]"
        page.until(lambda _: page.script("return document.querySelector(arguments[0])?.click() === undefined && location.hash.includes('/instances/')", link), f"a click on {name[:20]!r}")
        page.says("h1", name.replace("\u202e", "\ufffd")[:50])
        page.says(".badge", "FAILED")
        assert page.width() <= page.script("return innerWidth"), name
        page.browser.back()
        page.says("h1", "Instances")
    page.one("tbody tr")
    tallest = page.script("return Math.max(...[...document.querySelectorAll('tbody tr')].map((row) => row.offsetHeight))")
    assert tallest < 250, tallest
    page.open("#/hubs/default/instances/wide")
    page.says(".failure", "xxxxx")
    assert page.width() <= page.script("return innerWidth"), page.width()
    assert "\u202e" not in page.script("return document.body.textContent")


def many_tabs(page):
    """What nobody sees keeps no connection, so that one more tab can still load."""
    first = page.browser.current_window_handle
    see = """Object.defineProperty(document, "visibilityState", { get: () => arguments_0, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));"""
    for _ in range(7):
        page.browser.switch_to.new_window("tab")
        page.browser.set_page_load_timeout(PATIENCE)
        page.open("#/hubs/default")
        page.says("td", "order-1")
        # Without a screen every tab counts as seen.
        page.script(see.replace("arguments_0", "'hidden'"))
    page.script(see.replace("arguments_0", "'visible'"))
    page.until(lambda _: page.one_text("#live") == "live", "told about changes again")
    for handle in page.browser.window_handles:
        if handle != first:
            page.browser.switch_to.window(handle)
            page.browser.close()
    page.browser.switch_to.window(first)


def with_many(page, scheduler):
    slowest = {}
    for query in ["", "status=COMPLETED", "status=RUNNING,FAILED", "name=many", "prefix=many-09", "sort=name", "sort=-id",
                  "from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z"]:
        begun = time.monotonic()
        found = scheduler.get(f"/api/hubs/default/instances?{query}")
        slowest[query] = time.monotonic() - begun
        assert found["instances"] or "FAILED" in query, query
    print("lists of", MANY, {query: f"{seconds * 1000:.0f} ms" for query, seconds in slowest.items()})
    assert max(slowest.values()) < 2, slowest
    page.open("#/hubs/default?prefix=many")
    for number in range(1, 4):
        page.until(lambda _: len(page.all("tbody tr")) == 50, "a page of fifty")
        page.click("[data-key=on]")
        page.until(lambda b: b.current_url.count("page=") == number, "the next page")
    page.click("[data-key=back]")
    page.until(lambda b: b.current_url.count("page=") == 2, "the page before")


def fill(folder):
    """Puts many ended instances into the database of a scheduler that does not run."""
    with sqlite3.connect(folder / "scheduler.sqlite3") as db:
        hub = db.execute("SELECT id FROM hubs WHERE name = 'default'").fetchone()[0]
        key = db.execute("SELECT max(key) FROM instances").fetchone()[0]
        # 2020-01-01, one each second, all completed.
        db.executemany(
            "INSERT INTO instances (key, hub, id, execution_id, name, status, held, next_seq, created_us, updated_us, completed_us,"
            " details, terminate_children) VALUES (?, ?, ?, 'e', 'many', 1, 0, 0, ?, ?, ?, x'', 0)",
            ((key + n, hub, f"many-{n:06}", 1577836800000000 + n * 1000000, 1577836800000000 + n * 1000000, 1577836800000000 + n * 1000000)
             for n in range(1, MANY + 1)))
        db.execute("INSERT INTO payloads (instance) SELECT key FROM instances WHERE name = 'many'")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp())
    scheduler = Scheduler(options.program, folder)

    work = dt_worker.TaskHubGrpcWorker(host_address=scheduler.grpc)
    for orchestrator in (order, pack, spill):
        work.add_orchestrator(orchestrator)
    for activity in (charge, reserve):
        work.add_activity(activity)
    work.add_entity(counter)
    work.start()
    client = dt_client.TaskHubGrpcClient(host_address=scheduler.grpc)
    for number in range(1, 4):
        client.schedule_new_orchestration(order, input={"amount": 30, "items": ["lamp", "desk"]}, instance_id=f"order-{number}")
    client.schedule_new_orchestration(order, input={"amount": 9, "items": ["unicorn"]}, instance_id="order-broken")
    client.signal_entity(dt_entities.EntityInstanceId("counter", "one"), "add", input=5)
    client.wait_for_orchestration_completion("order-broken", timeout=PATIENCE)

    browser = chromium()
    try:
        page = Page(browser, scheduler.http, options.pictures, "dashboard")
        waiting = lambda _: "waiting for approval" in (scheduler.get("/api/hubs/default/instances/order-1")["instance"]["customStatus"] or "")
        page.until(waiting, "an order that waits")
        for step in (hubs_and_list, one_instance, by_keyboard, entities, workers, operations, on_a_phone_and_in_the_dark):
            step(page)
            print("ok", step.__name__, flush=True)
        any_name(page, client)
        print("ok any_name", flush=True)
        many_tabs(page)
        print("ok many_tabs", flush=True)
        # Looked for on purpose, after a purge.
        page.no_complaints(["404 (Not Found)"])
        restart(page, scheduler)
        print("ok restart", flush=True)
        fork(page, scheduler)
        page.no_complaints(["409 (Conflict)"])
        print("ok fork", flush=True)
        scheduler.stop()

        fill(folder)
        scheduler = Scheduler(options.program, folder)
        with_many(Page(browser, scheduler.http, options.pictures, "dashboard"), scheduler)
        print("ok with_many", flush=True)
        scheduler.stop()
    except Exception:
        browser.save_screenshot(str(folder / "failed.png"))
        print(f"the page when it failed: {folder / 'failed.png'}", flush=True)
        print(browser.find_element(By.TAG_NAME, "body").text, flush=True)
        print(browser.get_log("browser"), flush=True)
        raise
    finally:
        browser.quit()
        work.stop()
        scheduler.process.kill()


if __name__ == "__main__":
    main()
