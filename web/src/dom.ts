// Making elements. Text is only ever text: nothing here takes markup.

type Attributes = Record<string, string | number | boolean | EventListener>;
type Child = Node | string | null | undefined | false;

/** An element with attributes, listeners (`onclick`) and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      node.addEventListener(name.slice(2), value);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else if (value !== false) {
      node.setAttribute(name, String(value));
    }
  }
  node.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return node;
}

/** A field with its label, and words of help below it. */
export function field(label: string, input: HTMLElement, help?: string): HTMLElement {
  const id = `field-${input.getAttribute("name") ?? ""}`;
  input.id = id;
  const hint = help === undefined ? null : el("p", { class: "help", id: `${id}-help` }, help);
  if (hint) input.setAttribute("aria-describedby", hint.id);
  return el("div", { class: "field" }, el("label", { for: id }, label), input, hint);
}

/** Sets text only where it differs, so that selections and screen readers are left alone. */
export function say(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Runs `task` now and then while `node` is on the page. */
export function whileShown(node: HTMLElement, everyMs: number, task: () => void): void {
  const timer = setInterval(() => {
    if (node.isConnected) task();
    else clearInterval(timer);
  }, everyMs);
}
