// `/`: the admin's view. A token for whoever is not logged in; then the live sessions, and invites.

import { Refusal, info, login, logout, whoami } from "./api";
import { el, field } from "./dom";
import { inviteBox } from "./invite";
import { sessionTable } from "./sessions";

export function admin(): HTMLElement {
  document.title = "sandboxctl";
  const view = el("main", { class: "page" }, el("p", { class: "quiet" }, "Asking the daemon…"));
  const look = (): void => {
    whoami().then(
      (me) => view.replaceChildren(...(me.admin ? board(look) : [loginForm(look)])),
      (error: Refusal) => view.replaceChildren(el("p", { class: "error", role: "alert" }, error.message)),
    );
  };
  look();
  return view;
}

function loginForm(done: () => void): HTMLElement {
  const token = el("input", { name: "token", type: "password", required: true, autocomplete: "current-password", spellcheck: "false" });
  const error = el("p", { class: "error", role: "alert" });
  const button = el("button", { class: "primary" }, "Log in");
  const form = el(
    "form",
    { class: "card login" },
    el("h1", {}, "sandboxctl"),
    field("Admin token", token, "Printed at the daemon’s first start; “sandboxctl token rotate” makes another."),
    error,
    button,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    error.textContent = "";
    button.disabled = true;
    login(token.value.trim()).then(done, (refusal: Refusal) => {
      button.disabled = false;
      error.textContent = refusal.message;
      token.select();
    });
  });
  queueMicrotask(() => token.focus());
  return form;
}

function board(changed: () => void): HTMLElement[] {
  const version = el("span", { class: "quiet" });
  const invites = el("section", { class: "card" });
  info().then(
    (found) => {
      version.textContent = found.version;
      invites.replaceChildren(inviteBox(found.profiles));
    },
    (error: Refusal) => invites.replaceChildren(el("p", { class: "error" }, error.message)),
  );
  const leave = el("button", { type: "button", onclick: () => void logout().finally(changed) }, "Log out");
  return [
    el("header", { class: "head" }, el("h1", {}, "sandboxctl"), version, leave),
    sessionTable(changed),
    invites,
  ];
}
