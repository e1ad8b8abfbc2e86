// `/s/<id>`: a session's terminal, a slim bar that says how it stands, and a card when it is over.

import { Refusal, session as fetchSession, sessionPath, whoami, type Reason, type Role, type Session } from "./api";
import { Connection, type State } from "./connection";
import { el, say, whileShown } from "./dom";
import { Screen } from "./screen";
import { bytes, count, dollars, ending, short, span, tokens } from "./words";

/** How often the session is looked at for what the terminal does not tell, in milliseconds. */
const LOOK = 15_000;

/** RIS of ECMA-48: everything as at the start. */
const FULL_RESET = "\x1bc";

const STATES: Record<State, string> = {
  connecting: "connecting",
  live: "live",
  reconnecting: "reconnecting…",
  over: "over",
};

export function terminal(id: string): HTMLElement {
  document.title = `${short(id)} · sandboxctl`;
  const box = el("div", { class: "screen" });
  const home = el("a", { class: "home", href: "/", hidden: true }, "← sessions");
  const name = el("span", { class: "name" }, short(id));
  const role = el("span", { class: "role" });
  const take = el("button", { type: "button", hidden: true }, "Take the keyboard");
  const notice = el("span", { class: "notice", role: "status" });
  const left = el("span", { class: "left" });
  const link = el("span", { class: "link", role: "status" }, STATES.connecting);
  const bar = el("header", { class: "bar" }, home, name, role, take, notice, left, link);
  const view = el("main", { class: "stage" }, bar, box);

  let mine: Role = "observer";
  let seen: Session | undefined;

  view.addEventListener("shown", () => {
    const screen = new Screen(box);
    const term = screen.terminal;

    const settle = (): void => {
      if (mine === "observer") {
        screen.scale();
        return;
      }
      const size = screen.fitting();
      // The terminal takes the size when the stream says so: what was laid out before stays as it was.
      if (size && (size.cols !== term.cols || size.rows !== term.rows)) connection.tell({ type: "resize", ...size });
    };

    const takeSize = (cols: number, rows: number): void => {
      term.resize(cols, rows);
      settle();
    };

    const over = (heading: string, sentence: string): void => {
      term.options.disableStdin = true;
      term.options.cursorBlink = false;
      role.textContent = "";
      take.hidden = true;
      say(notice, "");
      say(left, "");
      say(link, STATES.over);
      link.dataset["state"] = "over";
      view.append(endCard(heading, sentence));
    };

    const connection = new Connection(id, {
      state: (state) => {
        say(link, STATES[state]);
        link.dataset["state"] = state;
        term.options.disableStdin = state !== "live" || mine !== "driver";
        if (state === "live") look();
      },
      // Both go through the terminal's own queue, so that they come after the output before them.
      reset: (cols, rows) => term.write(FULL_RESET, () => takeSize(cols, rows)),
      resize: (cols, rows) => term.write("", () => takeSize(cols, rows)),
      output: (data, shown) => term.write(data, shown),
      role: (now) => {
        mine = now;
        say(role, now === "driver" ? "you drive" : "watching");
        role.dataset["role"] = now;
        take.hidden = now === "driver";
        term.options.disableStdin = now !== "driver";
        settle();
        if (now === "driver") term.focus();
      },
      notice: (text) => say(notice, text ?? ""),
      ended: (reason, code) => {
        over("The session has ended", sentence(reason, code));
        void summary();
      },
      refused: (refusal) => over(...refusedWords(refusal)),
    });

    const look = (): void => {
      fetchSession(id).then(
        (found) => {
          seen = found;
          tick();
        },
        () => undefined, // The connection finds out what is wrong.
      );
    };

    const tick = (): void => {
      if (!seen || link.dataset["state"] === "over") return;
      say(name, `${short(seen.id)} · ${seen.user.name}`);
      const until = seen.expires_at === null ? undefined : Date.parse(seen.expires_at) - Date.now();
      const phase = seen.phase === "running" ? "" : `${seen.phase} · `;
      say(left, until === undefined ? phase : `${phase}${span(until)} left`);
    };

    const summary = async (): Promise<void> => {
      const ended = await fetchSession(id).catch(() => undefined);
      if (!ended) return;
      const t = ended.totals;
      const figures = `Recorded: ${bytes(ended.recorded_bytes)}, ${t.turns} turns, ${t.tools} tools, ${count(tokens(ended))} tokens, ${dollars(t.cost_usd)}.`;
      view.querySelector(".card p")?.after(el("p", { class: "quiet" }, figures));
    };

    const keyboard = new TextEncoder();
    term.onData((text) => {
      if (mine === "driver") connection.type(keyboard.encode(text));
    });
    term.onBinary((text) => {
      if (mine === "driver") connection.type(Uint8Array.from(text, (c) => c.charCodeAt(0)));
    });
    term.onTitleChange((title) => (document.title = title ? `${title} · sandboxctl` : `${short(id)} · sandboxctl`));
    take.onclick = () => connection.tell({ type: "role", role: "driver" });
    screen.watch(settle);
    whileShown(view, 1000, tick);
    whileShown(view, LOOK, look);
    connection.open();

    void whoami().then(
      (me) => {
        home.hidden = !me.admin;
        if (me.admin) view.dataset["admin"] = "";
      },
      () => undefined,
    );
  });

  function endCard(heading: string, words: string): HTMLElement {
    const download = el("a", { class: "button", href: `${sessionPath(id)}/export`, download: true }, "Download the record");
    const back = el("a", { class: "button", href: "/" }, "All sessions");
    const admin = "admin" in view.dataset && heading === "The session has ended";
    return el(
      "section",
      { class: "card over", role: "alertdialog", "aria-label": heading },
      el("h1", {}, heading),
      el("p", {}, words),
      admin ? el("div", { class: "actions" }, download, back) : el("p", { class: "quiet" }, "You can close this page."),
    );
  }

  return view;
}

/** Why, and the exit code where the reason does not hold it already. */
function sentence(reason: Reason | null, code: number | null): string {
  const why = ending(reason);
  return code === null || reason?.reason === "exited" ? why : `${why} The program’s exit code was ${code}.`;
}

function refusedWords(refusal: Refusal): [string, string] {
  if (refusal.status === 404) return ["There is no such session", "Its record may have been removed."];
  return ["This session is not open to you", "Open it in the browser that joined it, or log in as the admin first."];
}
