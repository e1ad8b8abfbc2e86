// Which view an address shows: `/join/<token>`, `/s/<id>`, and `/` for the admin.

import "@xterm/xterm/css/xterm.css";
import "./style.css";

import { admin } from "./admin";
import { el } from "./dom";
import { join } from "./join";
import { terminal } from "./terminal";

const app = document.getElementById("app") as HTMLElement;

/** Shows a view in place of the one before it. */
function show(view: HTMLElement): void {
  app.replaceChildren(view);
  view.dispatchEvent(new Event("shown"));
}

/** Shows the view of an address without loading anything anew. */
function go(path: string): void {
  history.replaceState(null, "", path);
  route();
}

function route(): void {
  const [kind, name, rest] = location.pathname.split("/").slice(1);
  if (kind === "join" && name && rest === undefined) {
    show(join(decodeURIComponent(name), (session) => go(`/s/${session.id}`)));
  } else if (kind === "s" && name && rest === undefined) {
    show(terminal(decodeURIComponent(name)));
  } else if (kind === "") {
    show(admin());
  } else {
    show(el("main", { class: "page" }, el("h1", {}, "Nothing is here"), el("a", { href: "/" }, "To the sessions")));
  }
}

route();
