// A picture with what was found in it.

import { h, svg } from "./dom.js";
import { t } from "./text.js";

/** Places are told in ten-thousandths of the picture's sides. */
const UNITS = 10_000;

/** The picture of a file with its regions; nothing if it has none or is no picture. */
export function picture(file, regions = []) {
  if (!file?.type.startsWith("image/") || regions.length === 0) return undefined;
  const address = URL.createObjectURL(file);
  const forget = () => URL.revokeObjectURL(address);
  return h("figure", { class: "picture" },
    h("img", { src: address, alt: t.add.found(regions.length), load: forget, error: forget }),
    svg("svg", { viewBox: `0 0 ${UNITS} ${UNITS}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      regions.map((corners) => svg("polygon", { points: corners.map((corner) => corner.join(",")).join(" ") }))));
}
