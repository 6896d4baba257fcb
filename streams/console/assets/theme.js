// Before the page is drawn: the theme that was chosen, if one was.
"use strict";
try {
  const theme = localStorage.getItem("graphcache.console.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden. Then the system's theme it is.
}
