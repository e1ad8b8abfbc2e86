// Figures and reasons in words.

import type { Reason, Session } from "./api";

/** A span in its two largest units: `2h05m`. */
export function span(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number): string => String(n).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h${two(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86_400)}d${two(Math.floor(s / 3600) % 24)}h`;
}

/** A span as one says it: `8 hours`. */
export function spoken(seconds: number): string {
  const [n, unit] =
    seconds >= 172_800
      ? [Math.round(seconds / 86_400), "day"]
      : seconds >= 5400
        ? [Math.round(seconds / 3600), "hour"]
        : seconds >= 90
          ? [Math.round(seconds / 60), "minute"]
          : [seconds, "second"];
  return `${n} ${unit}${n === 1 ? "" : "s"}`;
}

/** A count in a few characters: `12.3k`. */
export function count(n: number): string {
  if (n < 1000) return String(n);
  if (n < 1_000_000) return `${(n / 1000).toFixed(n < 10_000 ? 1 : 0)}k`;
  return `${(n / 1_000_000).toFixed(1)}M`;
}

/** Bytes in binary units. */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at === 0 ? n : n.toFixed(1)} ${units[at] ?? ""}`;
}

export function dollars(usd: number): string {
  return `$${usd.toFixed(usd < 1 ? 4 : 2)}`;
}

export function percent(share: number): string {
  return `${Math.floor(share * 100)} %`;
}

/** The first thirteen characters: what a table shows of an id. */
export function short(id: string): string {
  return id.slice(0, 13);
}

export function tokens(session: Session): number {
  const t = session.totals;
  return t.input_tokens + t.output_tokens + t.cache_read_tokens + t.cache_creation_tokens;
}

/** Why a session ended, as a sentence. */
export function ending(reason: Reason | null): string {
  switch (reason?.reason) {
    case undefined:
      return "It has ended.";
    case "exited":
      return reason.code === 0 ? "The program ended." : `The program ended with exit code ${reason.code}.`;
    case "idle":
      return "Nothing happened in it for too long.";
    case "ttl":
      return "Its time was over.";
    case "budget":
      return "Its budget was spent.";
    case "disk":
      return "It passed its disk limit.";
    case "oom":
      return "It ran out of memory.";
    case "operator":
      return reason.note ? `An operator ended it: ${reason.note}` : "An operator ended it.";
    case "program_failed":
      return `The program could not start: ${reason.error}`;
    case "engine":
      return `The engine failed: ${reason.error}`;
    case "daemon_lost_container":
      return "Its container was gone.";
    case "key_lost":
      return "The daemon was restarted before the program began, and the API key, which is kept nowhere, went with it. Start it again.";
    case "damaged":
      return `Its record is damaged: ${reason.error}`;
  }
}
