// Makes an invite, and shows its link once.

import { Refusal, makeInvite, type Invite } from "./api";
import { el, field } from "./dom";

const LASTS: [string, number][] = [
  ["1 hour", 3600],
  ["1 day", 86_400],
  ["7 days", 7 * 86_400],
  ["30 days", 30 * 86_400],
];

export function inviteBox(profiles: string[]): HTMLElement {
  const profile = el("select", { name: "profile" }, ...profiles.map((name) => el("option", { value: name }, name)));
  const uses = el("input", { name: "uses", type: "number", min: 1, max: 10_000, value: 1, required: true });
  const lasts = el("select", { name: "expires" }, ...LASTS.map(([text, s]) => el("option", { value: s, selected: s === 86_400 }, text)));
  const button = el("button", { class: "primary" }, "Make an invite");
  const answer = el("div", { class: "answer", role: "status" });
  const form = el(
    "form",
    { class: "row" },
    field("Profile", profile),
    field("Sessions", uses),
    field("Good for", lasts),
    button,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    makeInvite({ profile: profile.value, uses: uses.valueAsNumber, expires_s: Number(lasts.value) })
      .then(
        (invite) => answer.replaceChildren(linkBox(invite)),
        (refusal: Refusal) => answer.replaceChildren(el("p", { class: "error", role: "alert" }, refusal.message)),
      )
      .finally(() => (button.disabled = false));
  });
  return el(
    "div",
    {},
    el("h2", {}, "Invite somebody"),
    el("p", { class: "quiet" }, "Whoever has the link starts a session for themselves, after agreeing to what is recorded."),
    form,
    answer,
  );
}

function linkBox(invite: Invite): HTMLElement {
  const link = el("input", { name: "link", readonly: true, value: invite.url, "aria-label": "Invite link" });
  const copy = el("button", { type: "button" }, "Copy");
  copy.onclick = () => {
    link.select();
    void copyText(invite.url).then((done) => (copy.textContent = done ? "Copied" : "Press Ctrl+C"));
  };
  link.onfocus = () => link.select();
  const until = new Date(invite.expires_at).toLocaleString();
  const good = invite.uses === 1 ? "one session" : `${invite.uses} sessions`;
  return el(
    "div",
    {},
    el("div", { class: "link" }, link, copy),
    el("p", { class: "help" }, `Good for ${good} until ${until}. The link is shown only now.`),
  );
}

/** Pages without TLS may not use the clipboard, except on this machine; there the selection is enough. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
