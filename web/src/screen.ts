// xterm.js, and its two ways to fill a box: a driver's size follows the box, an observer's font does.

import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";

const FONT = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
/** The driver's font size, and the smallest that an observer's shrinks to, in pixels. */
const SIZE = { driver: 14, small: 12, least: 4, most: 20 };

// Dark in both schemes: programs draw for the dark, and everybody who watches sees the same.
const THEME = {
  background: "#10161d",
  foreground: "#d7dee6",
  cursor: "#5fd0b5",
  cursorAccent: "#10161d",
  selectionBackground: "#34506b",
  // xterm.js's own blue, magenta and red are hard to read on this ground.
  red: "#f2695c",
  green: "#7bc275",
  yellow: "#e0b04f",
  blue: "#6aa7f0",
  magenta: "#c58af0",
  cyan: "#5fd0c5",
  brightBlack: "#7d8a97",
};

const fontSize = (): number => (innerWidth < 600 ? SIZE.small : SIZE.driver);

/** How many columns and rows a whole window holds, before there is a terminal to measure. */
export function guessSize(): { cols: number; rows: number } {
  const context = document.createElement("canvas").getContext("2d");
  let width = fontSize() * 0.6;
  if (context) {
    context.font = `${fontSize()}px ${FONT}`;
    width = context.measureText("M").width || width;
  }
  const cols = Math.floor((innerWidth - 24) / width);
  const rows = Math.floor((innerHeight - 48) / (fontSize() * 1.2));
  return { cols: Math.min(Math.max(cols, 20), 500), rows: Math.min(Math.max(rows, 6), 300) };
}

export class Screen {
  readonly terminal: Terminal;
  private readonly fit = new FitAddon();

  constructor(private readonly box: HTMLElement) {
    this.terminal = new Terminal({
      allowProposedApi: true,
      cursorBlink: true,
      disableStdin: true,
      fontFamily: FONT,
      fontSize: fontSize(),
      scrollback: 10_000,
      theme: THEME,
      linkHandler: { activate: (_event, uri) => follow(uri) },
    });
    this.terminal.loadAddon(this.fit);
    this.terminal.loadAddon(new Unicode11Addon());
    this.terminal.unicode.activeVersion = "11";
    this.terminal.loadAddon(new WebLinksAddon((_event, uri) => follow(uri)));
    this.terminal.open(box);
  }

  /** The size that fills the box at the driver's font. */
  fitting(): { cols: number; rows: number } | undefined {
    this.terminal.options.fontSize = fontSize();
    const fitting = this.fit.proposeDimensions();
    if (!fitting || !(fitting.cols > 1 && fitting.rows > 1)) return undefined;
    return { cols: Math.min(fitting.cols, 1000), rows: Math.min(fitting.rows, 1000) };
  }

  /** Chooses the font so that the session's own size fills the box. */
  scale(): void {
    // Cells are whole pixels, so the second look corrects the first.
    for (let look = 0; look < 3; look += 1) {
      const now = this.terminal.options.fontSize ?? SIZE.driver;
      const fitting = this.fit.proposeDimensions();
      if (!fitting || !(fitting.cols > 0 && fitting.rows > 0)) return;
      const ratio = Math.min(fitting.cols / this.terminal.cols, fitting.rows / this.terminal.rows);
      const next = Math.min(Math.max(Math.floor(now * ratio * 2) / 2, SIZE.least), SIZE.most);
      if (next === now) return;
      this.terminal.options.fontSize = next;
    }
  }

  /** Calls back whenever the box has another size. */
  watch(changed: () => void): void {
    new ResizeObserver(changed).observe(this.box);
  }
}

/** Opens what a program printed, in a page that cannot reach this one. */
function follow(uri: string): void {
  if (/^https?:\/\//i.test(uri)) window.open(uri, "_blank", "noopener,noreferrer");
}
