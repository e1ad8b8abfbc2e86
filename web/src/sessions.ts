// The live sessions, as they change. Rows keep their place in the page while their cells change, so that
// focus and selection stay where they are.

import { LIST_STREAM, Refusal, endSession, whoami, type Session, type SessionList } from "./api";
import { el, say, whileShown } from "./dom";
import { count, dollars, percent, short, span, tokens } from "./words";

const COLUMNS = ["Session", "User", "State", "Age", "Idle", "Viewers", "Turns", "Tokens", "Cost", "Complete"] as const;
type Column = (typeof COLUMNS)[number];

/** How long to wait before asking again who we are, once the stream was refused, in milliseconds. */
const AGAIN = 3000;

/** `loggedOut` is called when the daemon no longer knows this browser. */
export function sessionTable(loggedOut: () => void): HTMLElement {
  const body = el("tbody");
  const heads = COLUMNS.map((column) => el("th", { scope: "col", class: FIGURES.has(column) ? "figure" : "" }, column));
  const head = el("tr", {}, ...heads, el("th", { scope: "col" }, el("span", { class: "unseen" }, "Actions")));
  const table = el("table", { hidden: true }, el("thead", {}, head), body);
  const state = el("p", { class: "quiet", role: "status" }, "Reading the list…");
  const view = el("section", { class: "card sessions" }, el("h2", {}, "Live sessions"), state, table);
  const rows = new Map<string, Row>();

  const update = (list: Session[]): void => {
    table.hidden = list.length === 0;
    say(state, list.length === 0 ? "None. Start one with “sandboxctl start”, or invite somebody." : "");
    const gone = new Set(rows.keys());
    list.forEach((session, place) => {
      gone.delete(session.id);
      let row = rows.get(session.id);
      if (!row) {
        row = new Row(session);
        rows.set(session.id, row);
      }
      row.update(session);
      if (body.children[place] !== row.node) body.insertBefore(row.node, body.children[place] ?? null);
    });
    for (const id of gone) {
      rows.get(id)?.node.remove();
      rows.delete(id);
    }
  };

  const follow = (): void => {
    const stream = new EventSource(LIST_STREAM);
    stream.onmessage = (event: MessageEvent<string>) => {
      if (!view.isConnected) stream.close();
      else update((JSON.parse(event.data) as SessionList).sessions);
    };
    stream.onerror = () => {
      if (!view.isConnected) {
        stream.close();
        return;
      }
      say(state, "The daemon does not answer; trying again…");
      // A stream that was refused stays closed; one that broke off comes back by itself.
      if (stream.readyState !== EventSource.CLOSED) return;
      setTimeout(() => {
        if (!view.isConnected) return;
        whoami().then((me) => (me.admin ? follow() : loggedOut()), follow);
      }, AGAIN);
    };
  };
  follow();
  whileShown(view, 1000, () => rows.forEach((row) => row.tick()));
  return view;
}

const FIGURES: ReadonlySet<Column> = new Set(["Age", "Idle", "Viewers", "Turns", "Tokens", "Cost", "Complete"]);

class Row {
  readonly node: HTMLTableRowElement;
  private readonly cells: Map<Column, HTMLElement>;
  private readonly end: HTMLButtonElement;

  constructor(private session: Session) {
    const link = el("a", { href: `/s/${session.id}`, title: "Watch" }, short(session.id));
    this.end = el("button", { type: "button", class: "danger", onclick: () => confirmEnd(this.session) }, "End");
    const cell = (column: Column): HTMLTableCellElement =>
      el("td", { "data-label": column, class: FIGURES.has(column) ? "figure" : "" });
    this.cells = new Map(COLUMNS.map((column) => [column, cell(column)]));
    this.cells.get("Session")?.append(link);
    this.node = el("tr", {}, ...this.cells.values(), el("td", { class: "act" }, this.end));
  }

  update(session: Session): void {
    this.session = session;
    const { set } = this;
    set("User", session.user.name).title = session.user.email;
    const state = set("State", session.warning === null ? session.phase : `${session.phase}: ${session.warning}`);
    state.dataset["phase"] = session.warning === null ? session.phase : "warned";
    set("Viewers", String(session.viewers));
    set("Turns", String(session.totals.turns));
    set("Tokens", count(tokens(session)));
    set("Cost", dollars(session.totals.cost_usd));
    set("Complete", session.completeness === null ? "–" : percent(session.completeness));
    this.end.disabled = session.phase === "stopping" || session.phase === "ended";
    this.tick();
  }

  tick(): void {
    const since = (at: string | null): string => (at === null ? "–" : span(Date.now() - Date.parse(at)));
    this.set("Age", since(this.session.created_at));
    this.set("Idle", since(this.session.active_at));
  }

  private readonly set = (column: Column, text: string): HTMLElement => {
    const cell = this.cells.get(column) ?? this.node;
    say(cell, text);
    return cell;
  };
}

function confirmEnd(session: Session): void {
  const error = el("p", { class: "error", role: "alert" });
  const yes = el("button", { type: "button", class: "danger" }, "End it");
  const no = el("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Keep it");
  const dialog = el(
    "dialog",
    { class: "card", "aria-label": "End this session?", onclose: () => dialog.remove() },
    el("h2", {}, "End this session?"),
    el("p", {}, `${session.user.name}’s session ${short(session.id)} ends, and its program with it. Its record is kept.`),
    error,
    el("div", { class: "actions" }, no, yes),
  );
  yes.onclick = () => {
    yes.disabled = true;
    endSession(session.id).then(
      () => dialog.close(),
      (refusal: Refusal) => {
        yes.disabled = false;
        error.textContent = refusal.message;
      },
    );
  };
  document.body.append(dialog);
  dialog.showModal();
}
