// Before anything is painted: light or dark, where somebody has chosen one. No module, since
// those run too late for that.
(() => {
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Nothing was chosen that is known.
  }
})();
