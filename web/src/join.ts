// `/join/<token>`: says what is recorded and who pays, asks for consent, starts the session.

import { Refusal, invitation, join as start, type Credential, type Invitation, type JoinRequest, type Session } from "./api";
import { el, field } from "./dom";
import { guessSize } from "./screen";
import { spoken } from "./words";

const PAYS: Record<Credential, string> = {
  user: "You bring your own account: sign in inside the session, or give an API key below.",
  gateway: "Whoever invited you pays for the model, up to a budget. You need no account and no key.",
  demo: "Nobody: a scripted model answers, for trying things out. You need no account and no key.",
};

export function join(token: string, started: (session: Session) => void): HTMLElement {
  document.title = "Join · sandboxctl";
  const view = el("main", { class: "page narrow" }, el("p", { class: "quiet" }, "Reading the invite…"));
  invitation(token).then(
    (found) => view.replaceChildren(...offer(token, found, started)),
    (error: Refusal) => view.replaceChildren(refused(error)),
  );
  return view;
}

function refused(error: Refusal): HTMLElement {
  const gone = error.code === "invite_not_valid";
  const again = el("button", { type: "button", onclick: () => location.reload() }, "Try again");
  return el(
    "section",
    { class: "card", role: "alert" },
    el("h1", {}, gone ? "This invite is not valid" : "The invite cannot be read"),
    el("p", {}, gone ? "It is unknown, used up or expired. Ask whoever sent it for a new one." : error.message),
    gone ? null : again,
  );
}

function offer(token: string, found: Invitation, started: (session: Session) => void): HTMLElement[] {
  return [
    el("h1", {}, "Start a recorded session"),
    el(
      "p",
      {},
      "You get a terminal with Claude Code, in a sandbox of your own on somebody else’s machine. ",
      `It lasts at most ${spoken(found.ttl_s)}, and all of it is recorded.`,
    ),
    el(
      "section",
      { class: "card" },
      el("h2", {}, "What is recorded"),
      el("ul", {}, ...found.recorded.map((sentence) => el("li", {}, sentence))),
      el("h2", {}, "Who pays for the model"),
      el("p", {}, PAYS[found.credential]),
    ),
    form(token, found, started),
  ];
}

function form(token: string, found: Invitation, started: (session: Session) => void): HTMLElement {
  const name = el("input", { name: "name", required: true, maxlength: 100, autocomplete: "name" });
  const email = el("input", { name: "email", type: "email", required: true, maxlength: 254, autocomplete: "email" });
  const key = el("input", { name: "api_key", type: "password", autocomplete: "off", spellcheck: "false" });
  const consent = el("input", { name: "consent", type: "checkbox", required: true, id: "consent" });
  const button = el("button", { class: "primary" }, "Start the session");
  const error = el("p", { class: "error", role: "alert" });
  const form = el(
    "form",
    { class: "card" },
    field("Your name", name),
    field("Your e-mail address", email, "Both are recorded with the session."),
    found.credential === "user" &&
      field(
        "API key (optional)",
        key,
        "It goes to your session alone, is held in memory while the session lives, and is stored nowhere. Leave it empty to sign in inside the session.",
      ),
    el(
      "label",
      { class: "check", for: "consent" },
      consent,
      el("span", {}, "I have read what is recorded, and agree to it."),
    ),
    error,
    button,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    error.textContent = "";
    button.disabled = true;
    button.textContent = "Starting…";
    const request: JoinRequest = { name: name.value, email: email.value, consent: consent.checked, ...guessSize() };
    if (key.value !== "") request.api_key = key.value;
    start(token, request).then(started, (refusal: Refusal) => {
      button.disabled = false;
      button.textContent = "Start the session";
      error.textContent = refusal.message;
      const wrong = refusal.field === undefined ? null : form.elements.namedItem(refusal.field);
      if (wrong instanceof HTMLElement) wrong.focus();
    });
  });
  return form;
}
