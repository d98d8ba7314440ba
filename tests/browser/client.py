"""A page that was written for other servers' `POST /api/accounts` and `GET /api/tokens`, set to
this one by its base URL and a bearer header, and the page that shows the API's description, in a
real browser. Run by tests/browser/run."""

import argparse
import http.server
import json
import pathlib
import tempfile
import threading
import urllib.error
import urllib.request

from browser import Page, chromium
from page import Server

HERE = pathlib.Path(__file__).resolve().parent
# Changes often, so that a second code is soon there; the secret of RFC 6238's table.
URI = "otpauth://totp/Test%20Token?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=2FAS&period=5"
BAD = "otpauth://totp/Test%20Token?issuer=2FAS"


def site(server):
    """The page's own site, which passes what is below its base URL on to the server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/":
                self.answer(200, "text/html; charset=utf-8", (HERE / "client.html").read_bytes())
            else:
                self.pass_on()

        def do_POST(self):
            self.pass_on()

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            names = [name for name in ("Authorization", "Content-Type") if name in self.headers]
            request = urllib.request.Request(server.http + self.path.removeprefix("/countersign"), body,
                                             {name: self.headers[name] for name in names}, method=self.command)
            try:
                answer = urllib.request.urlopen(request)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                self.answer(answer.status, answer.headers["Content-Type"], answer.read())

        def answer(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    return running


def paste(page, text):
    page.script("""
        const clipboardData = new DataTransfer();
        clipboardData.setData("text", arguments[0]);
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
    """, text)


def described(page, server):
    """The page at /docs shows every operation, finds one, and loads nothing that it may not."""
    described = json.load(urllib.request.urlopen(f"{server.http}/api/openapi.json"))
    operations = sum(len(item) for item in described["paths"].values())
    page.browser.get(f"{server.http}/docs#verifyCode")
    page.until(lambda _: len(page.all("main details")) == operations, "every operation")
    assert page.script("return document.getElementById('verifyCode').open")
    page.says("#verifyCode", "429")
    page.one("#find").send_keys("verifycode")
    page.until(lambda _: [e.get_attribute("id") for e in page.all("main details") if e.is_displayed()] == ["verifyCode"], "one")
    page.no_complaints()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    server = Server(options.program, pathlib.Path(tempfile.mkdtemp()) / "data")
    running = site(server)
    browser = chromium()
    page = Page(browser, f"http://127.0.0.1:{running.server_port}", options.pictures, "client")
    try:
        page.open(f"#{server.token}")
        paste(page, BAD)
        page.says("#error", "Secret missing")
        paste(page, URI)
        page.says("#issuer", "2FAS")
        page.says("#name", "Test Token")
        page.says("#zone", "Paste or drop")
        first = page.one_text("#code")
        assert len(first) == 6 and first.isdigit(), first
        page.says("#seconds", "seconds")
        # It asks again by itself when the time is over.
        page.until(lambda _: page.one_text("#code") != first, "another code")
        assert page.one_text("#error") == ""
        page.no_complaints(["422 (Unprocessable"])
        print("ok a client from elsewhere", flush=True)
        described(page, server)
        print("ok the description", flush=True)
    finally:
        browser.quit()
        running.shutdown()
        server.process.kill()


if __name__ == "__main__":
    main()
