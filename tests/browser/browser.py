"""A real headless Chromium, and what a person does in it."""

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

# Long enough for a loaded machine; only a failing test waits it out.
PATIENCE = 60
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


def chromium(profile=None):
    """A new browser; with `profile`, what it keeps is in that folder."""
    arguments = webdriver.ChromeOptions()
    if profile:
        arguments.add_argument(f"--user-data-dir={profile}")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900", "--lang=en-US"):
        arguments.add_argument(argument)
    arguments.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=arguments, service=Service("/usr/bin/chromedriver"))


class Page:
    """What is shown at `base`; pictures of it go to `pictures` under names that begin with `kind`."""

    def __init__(self, browser, base, pictures, kind):
        self.browser, self.base, self.pictures, self.kind = browser, base, pictures, kind
        self.wait = WebDriverWait(browser, PATIENCE, poll_frequency=0.1, ignored_exceptions=[Exception])

    def open(self, hash):
        self.browser.get(f"{self.base}/{hash}")

    def until(self, condition, what):
        return self.wait.until(condition, what)

    def all(self, css):
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.until(lambda b: next(e for e in b.find_elements(By.CSS_SELECTOR, css) if e.is_displayed()), css)

    def says(self, css, text):
        self.until(lambda b: any(text in e.text for e in b.find_elements(By.CSS_SELECTOR, css)), f"{css} says {text!r}")

    def click(self, css, text=""):
        """Clicks what is there now: the page may put something newer in its place after it was found."""
        def found(browser):
            next(e for e in browser.find_elements(By.CSS_SELECTOR, css) if e.is_displayed() and text in e.text).click()
            return True
        self.until(found, f"a click on {css} {text}")

    def button(self, label, inside="main"):
        def found(_):
            next(b for b in self.all(f"{inside} button") if b.text == label).click()
            return True
        self.until(found, f"button {label}")

    def keys(self, *keys):
        """Types to whatever has the focus now."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def focused(self, script):
        return self.browser.execute_script(f"return document.activeElement.{script}")

    def one_text(self, css):
        """The text of an element that may be out of sight."""
        return self.script("return document.querySelector(arguments[0])?.textContent ?? ''", css)

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def picture(self, name):
        self.browser.save_screenshot(str(self.pictures / f"{self.kind}-{name}.png"))

    def size(self, metrics=None):
        """A screen of this size, or the window's own again."""
        if metrics:
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        else:
            self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def media(self, **features):
        """What the system prefers, such as prefers_color_scheme="dark"; nothing in particular without."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def is_dark(self):
        ground = self.script("return getComputedStyle(document.body).backgroundColor")
        return sum(int(n) for n in ground.removeprefix("rgb(").removesuffix(")").split(",")) < 150

    def width(self):
        return self.script("return document.documentElement.scrollWidth")

    def no_complaints(self, expected=()):
        """The console holds no error: no refused script or style, no exception."""
        bad = [e for e in self.browser.get_log("browser")
               if e["level"] == "SEVERE" and not any(text in e["message"] for text in expected)]
        assert not bad, bad
