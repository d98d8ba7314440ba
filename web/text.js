// Which language the page speaks: the one that was chosen in the settings, or else the first of
// the browser's that there is.

import { preference } from "./preferences.js";
import { german } from "./text-de.js";
import { english } from "./text-en.js";

/** Every language that there is, by its code. */
export const languages = { en: english, de: german };

const wanted = [preference.get("language", ""), ...navigator.languages.map((name) => name.split("-")[0].toLowerCase())];

/** The texts. */
export const t = languages[wanted.find((code) => Object.hasOwn(languages, code))] ?? english;
export const { code: language, direction } = t.language;
