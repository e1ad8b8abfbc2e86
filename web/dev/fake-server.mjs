// A daemon's double for the page's own tests: speaks the words of src/api.rs, runs nothing.
//
// Its "program" echoes what is typed and knows a few commands (`exit N`, `flood BYTES`, `size`, `color`).
// `POST /fake/…` lets a test make weather: drop connections, be away, warn, end. `GET /fake/facts` tells
// what a test cannot see from the page.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { WebSocketServer } from "ws";

const DIST = new URL("../dist/", import.meta.url).pathname;
const WINDOW = 256 << 10;
export const ADMIN_TOKEN = "sbx_admin";
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
};

class Problem extends Error {
  constructor(status, code, message, field) {
    super(message);
    Object.assign(this, { status, code, field });
  }
}

/** One session: its stream, its viewers, its toy program. */
class Session {
  constructor(user, cols, rows, state) {
    const now = new Date().toISOString();
    this.state = state;
    this.stream = [];
    this.seq = 0;
    this.viewers = new Set();
    this.driver = undefined;
    this.line = "";
    this.cols = cols;
    this.rows = rows;
    this.notice = null;
    this.seat = `seat_${randomUUID()}`;
    this.view = {
      id: randomUUID(),
      user,
      profile: "demo",
      credential: "demo",
      image: "sandboxctl/claude-code:latest",
      program: ["claude"],
      workspace: null,
      phase: "running",
      reason: null,
      exit_code: null,
      created_at: now,
      started_at: now,
      ended_at: null,
      expires_at: new Date(Date.now() + 8 * 3600_000).toISOString(),
      active_at: now,
      title: "",
      warning: null,
      recorded_bytes: 0,
      totals: { turns: 0, input_tokens: 0, output_tokens: 0, cache_read_tokens: 0, cache_creation_tokens: 0, cost_usd: 0, gateway_cost_usd: 0, tools: 0, errors: 0 },
      completeness: null,
    };
    this.write(`Welcome, ${user.name}.\r\n$ `);
  }

  json() {
    return { ...this.view, cols: this.cols, rows: this.rows, viewers: this.viewers.size };
  }

  write(text) {
    this.append({ bytes: Buffer.from(text) });
    this.view.recorded_bytes += text.length;
  }

  append(item) {
    this.seq += 1;
    this.stream.push({ seq: this.seq, ...item });
    for (const viewer of this.viewers) viewer.pump();
  }

  resize(cols, rows) {
    if (cols === this.cols && rows === this.rows) return;
    this.cols = cols;
    this.rows = rows;
    this.append({ cols, rows });
  }

  type(bytes) {
    this.view.active_at = new Date().toISOString();
    for (const char of bytes.toString()) {
      if (char === "\r") {
        const line = this.line;
        this.line = "";
        this.write("\r\n");
        this.run(line.trim());
        if (this.view.phase === "running") this.write("$ ");
      } else if (char >= " ") {
        this.line += char;
        this.write(char);
      }
    }
    this.state.changed();
  }

  run(line) {
    const [verb, arg] = line.split(" ");
    this.view.totals.turns += 1;
    this.view.totals.output_tokens += line.length * 97;
    this.view.totals.cost_usd += 0.0123;
    this.view.completeness = 1;
    if (verb === "exit") this.end({ reason: "exited", code: Number(arg ?? 0) });
    else if (verb === "size") this.write(`${this.cols}x${this.rows}\r\n`);
    else if (verb === "color") this.write("\x1b[31mred \x1b[32mgreen \x1b[33myellow \x1b[34mblue \x1b[35mmagenta \x1b[36mcyan\x1b[0m ┌──┐ 日本語 ✓\r\n");
    else if (verb === "flood") {
      const row = `${"flood ".repeat(12)}\r\n`;
      for (let left = Number(arg); left > 0; left -= 32 << 10) this.write(row.repeat(Math.ceil(Math.min(left, 32 << 10) / row.length)));
      this.write("flooded\r\n");
    } else if (line !== "") this.write(`you said: ${line}\r\n`);
  }

  drive(viewer) {
    const before = this.driver;
    this.driver = viewer;
    before?.tellRole();
    viewer?.tellRole();
  }

  say(notice) {
    this.notice = notice;
    this.view.warning = notice;
    for (const viewer of this.viewers) viewer.tell({ type: "notice", text: notice });
    this.state.changed();
  }

  end(reason) {
    Object.assign(this.view, { phase: "ended", reason, exit_code: reason.code ?? 143, ended_at: new Date().toISOString() });
    for (const viewer of this.viewers) viewer.pump();
    this.state.changed();
  }
}

/** One WebSocket. */
class Viewer {
  constructor(socket, session, mayDrive, role, after) {
    Object.assign(this, { socket, session, mayDrive, flight: [], at: after });
    session.viewers.add(this);
    session.state.facts.joins.push({ role, after });
    if (role === "driver") session.drive(this);
    else this.tellRole();
    if (session.notice !== null) this.tell({ type: "notice", text: session.notice });
    socket.on("message", (data, binary) => this.hear(data, binary));
    socket.on("close", () => {
      session.viewers.delete(this);
      if (session.driver === this) session.driver = undefined;
      session.state.changed();
    });
    this.pump();
    session.state.changed();
  }

  tell(message) {
    this.socket.send(JSON.stringify(message));
  }

  tellRole() {
    this.tell({ type: "role", role: this.session.driver === this ? "driver" : "observer" });
  }

  hear(data, binary) {
    const { session } = this;
    if (binary) {
      if (session.driver === this) session.type(data);
      return;
    }
    const message = JSON.parse(data.toString());
    if (message.type === "ack") {
      session.state.facts.acks += 1;
      this.flight = this.flight.filter(([seq]) => seq > message.seq);
      this.pump();
    } else if (message.type === "resize") {
      if (session.driver === this) session.resize(message.cols, message.rows);
    } else if (message.type === "role" && this.mayDrive) {
      session.drive(message.role === "driver" ? this : undefined);
    }
  }

  send(seq, bytes) {
    const head = Buffer.alloc(8);
    head.writeBigUInt64BE(BigInt(seq));
    this.socket.send(Buffer.concat([head, bytes]));
    this.flight.push([seq, bytes.length]);
    this.at = seq;
  }

  pump() {
    const { session } = this;
    const { facts } = session.state;
    if (this.at === undefined) {
      this.tell({ type: "snapshot", seq: session.seq, cols: session.cols, rows: session.rows });
      const shown = session.stream.filter((item) => item.bytes).map((item) => item.bytes);
      this.send(session.seq, Buffer.concat(shown).subarray(-(60 << 10)));
    }
    for (const item of session.stream.slice(this.at)) {
      const open = this.flight.reduce((sum, [, length]) => sum + length, 0);
      facts.mostUnacknowledged = Math.max(facts.mostUnacknowledged, open);
      if (open > 0 && open + (64 << 10) > WINDOW) return;
      if (item.bytes) this.send(item.seq, item.bytes);
      else this.tell({ type: "resize", seq: item.seq, cols: item.cols, rows: item.rows });
      this.at = item.seq;
    }
    if (session.view.phase === "ended") {
      this.tell({ type: "exit", code: session.view.exit_code, reason: session.view.reason });
      this.socket.close(1000);
    }
  }
}

class State {
  sessions = new Map();
  invites = new Map([["inv_demo", { profile: "demo", credential: "demo" }], ["inv_user", { profile: "default", credential: "user" }], ["inv_gateway", { profile: "team", credential: "gateway" }]]);
  logins = new Set();
  watchers = new Set();
  awayUntil = 0;
  facts = { acks: 0, mostUnacknowledged: 0, joins: [] };

  list() {
    return { sessions: [...this.sessions.values()].filter((s) => s.view.phase !== "ended").map((s) => s.json()).reverse() };
  }

  changed() {
    for (const response of this.watchers) response.write(`data: ${JSON.stringify(this.list())}\n\n`);
  }

  start(name, email, cols = 100, rows = 30) {
    const session = new Session({ name, email }, cols, rows, this);
    this.sessions.set(session.view.id, session);
    this.changed();
    return session;
  }
}

function cookies(request) {
  return Object.fromEntries((request.headers.cookie ?? "").split("; ").map((pair) => pair.split("=")));
}

function caller(state, request) {
  const jar = cookies(request);
  const seat = [...state.sessions.values()].find((s) => s.seat === jar.sandboxctl_seat_fake);
  return { admin: state.logins.has(jar.sandboxctl_admin_fake), seat };
}

function checkOrigin(request) {
  if (request.headers.origin !== `http://${request.headers.host}`) {
    throw new Problem(403, "foreign_origin", `this request comes from another site: ${request.headers.origin}`);
  }
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString());
}

function visible(state, request, id) {
  const who = caller(state, request);
  const session = state.sessions.get(id);
  if (!who.admin && !who.seat) throw new Problem(401, "unauthenticated", "say who you are");
  if (!session) throw new Problem(404, "session_not_found", `no session '${id}'`);
  if (!who.admin && who.seat !== session) throw new Problem(403, "forbidden", "you may not do this");
  return { who, session };
}

async function api(state, request, response, url) {
  const key = `${request.method} ${url.pathname.replace("/api/v1", "")}`;
  const json = (status, value, headers = {}) => {
    response.writeHead(status, { ...HEADERS, "content-type": "application/json", ...headers });
    response.end(value === undefined ? undefined : JSON.stringify(value));
  };
  const who = caller(state, request);
  const admin = () => {
    if (!who.admin) throw new Problem(401, "unauthenticated", "say who you are");
  };
  if (request.method !== "GET") checkOrigin(request);
  if (key === "GET /whoami") return json(200, { admin: who.admin, name: who.admin ? "admin" : null });
  if (key === "POST /login") {
    if ((await body(request)).token !== ADMIN_TOKEN) throw new Problem(401, "wrong_token", "the token is wrong; `sandboxctl token rotate` makes a new one");
    const secret = randomUUID();
    state.logins.add(secret);
    return json(204, undefined, { "set-cookie": `sandboxctl_admin_fake=${secret}; Path=/; HttpOnly; SameSite=Strict` });
  }
  if (key === "POST /logout") {
    state.logins.delete(cookies(request).sandboxctl_admin_fake);
    return json(204);
  }
  if (key === "GET /info") {
    admin();
    return json(200, { version: "0.1.0", instance: "fake", url: url.origin, detach_key: "ctrl-]", profiles: ["demo", "default", "team"] });
  }
  if (key === "GET /sessions") {
    admin();
    if (!request.headers.accept?.includes("text/event-stream")) return json(200, state.list());
    response.writeHead(200, { ...HEADERS, "content-type": "text/event-stream" });
    response.write(`data: ${JSON.stringify(state.list())}\n\n`);
    state.watchers.add(response);
    request.on("close", () => state.watchers.delete(response));
    return undefined;
  }
  if (key === "POST /invites") {
    admin();
    const { profile = "demo", uses = 1, expires_s = 86_400 } = await body(request);
    const token = `inv_${randomUUID().replaceAll("-", "")}`;
    state.invites.set(token, { profile, credential: "demo" });
    return json(201, { url: `${url.origin}/join/${token}`, profile, uses, expires_at: new Date(Date.now() + expires_s * 1000).toISOString() });
  }
  const invite = /^(GET|POST) \/invites\/([^/]+)(\/join)?$/.exec(key);
  if (invite) {
    const found = state.invites.get(invite[2]);
    if (!found) throw new Problem(404, "invite_not_valid", "this invite is not valid");
    if (!invite[3]) {
      const recorded = [
        "Everything that the terminal shows is recorded, byte for byte.",
        "Claude Code’s telemetry is recorded: which tools ran, how long they took, tokens and cost.",
        "Your name and e-mail address are recorded with it.",
        "The text of your prompts and of the answers is recorded.",
        "What you type is not recorded beyond what the terminal shows.",
      ];
      return json(200, { ...found, ttl_s: 8 * 3600, recorded, expires_at: new Date(Date.now() + 86_400_000).toISOString() });
    }
    const { name, email, consent, cols, rows } = await body(request);
    if (!consent) throw new Problem(400, "invalid", "consent: the session starts only if you agree", "consent");
    if (name === "Mallory") throw new Problem(429, "limit_reached", "64 sessions are alive, as many as max_sessions allows; end one, or raise it");
    const session = state.start(name, email, cols, rows);
    return json(201, session.json(), { "set-cookie": `sandboxctl_seat_fake=${session.seat}; Path=/api/v1/sessions/${session.view.id}; HttpOnly; SameSite=Strict` });
  }
  const one = /^(GET|DELETE) \/sessions\/([^/]+)$/.exec(key);
  if (one) {
    const { session } = visible(state, request, one[2]);
    if (one[1] === "DELETE") {
      admin();
      session.end({ reason: "operator" });
    }
    return json(one[1] === "DELETE" ? 202 : 200, session.json());
  }
  throw new Problem(404, "no_route", "there is nothing at this path");
}

async function fake(state, url, request) {
  const session = state.sessions.get(url.searchParams.get("id") ?? "");
  switch (url.pathname) {
    case "/fake/facts":
      return state.facts;
    case "/fake/start":
      return state.start(url.searchParams.get("name") ?? "Ada Lovelace", "ada@example.org").json();
    case "/fake/drop":
      for (const s of state.sessions.values()) for (const viewer of s.viewers) viewer.socket.terminate();
      return {};
    case "/fake/away":
      state.awayUntil = Date.now() + Number(url.searchParams.get("ms"));
      return fake(state, new URL("/fake/drop", url), request);
    case "/fake/cut":
      state.awayUntil = Date.now() + Number(url.searchParams.get("ms"));
      for (const response of state.watchers) response.destroy();
      return {};
    case "/fake/write":
      session.write(url.searchParams.get("text"));
      return {};
    case "/fake/notice":
      session.say(url.searchParams.get("text"));
      return {};
    case "/fake/patch":
      Object.assign(session.view, await body(request));
      state.changed();
      return {};
    case "/fake/end":
      session.end(await body(request));
      return {};
    default:
      throw new Problem(404, "no_route", "no such weather");
  }
}

async function page(response, path) {
  const name = path === "/" || path.startsWith("/join/") || path.startsWith("/s/") ? "index.html" : path.slice(1);
  const content = await readFile(join(DIST, name)).catch(() => undefined);
  if (content === undefined) throw new Problem(404, "no_route", "there is nothing at this path");
  response.writeHead(200, { ...HEADERS, "content-type": TYPES[name.split(".").pop()] ?? "application/octet-stream" });
  response.end(content);
}

/** Starts a fake daemon; returns its URL and how to stop it. */
export async function serve(port = 0) {
  const state = new State();
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    const answer = async () => {
      if (url.pathname.startsWith("/fake/")) {
        const facts = await fake(state, url, request);
        response.writeHead(200, { "content-type": "application/json" });
        response.end(JSON.stringify(facts));
      } else if (Date.now() < state.awayUntil) request.socket.destroy();
      else if (url.pathname.startsWith("/api/")) await api(state, request, response, url);
      else await page(response, url.pathname);
    };
    answer().catch((error) => {
      const { status = 500, code = "internal", field, message } = error;
      response.writeHead(status, { ...HEADERS, "content-type": "application/json" });
      response.end(JSON.stringify({ code, message, field }));
    });
  });
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 64 << 10 });
  server.on("upgrade", (request, socket, head) => {
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    try {
      if (Date.now() < state.awayUntil) throw new Problem(503, "away", "away");
      checkOrigin(request);
      const { who, session } = visible(state, request, url.pathname.split("/")[4]);
      if (session.view.phase === "ended") throw new Problem(409, "session_ended", "the session has ended");
      const seated = who.seat === session;
      const role = url.searchParams.get("role") ?? (seated ? "driver" : "observer");
      const after = url.searchParams.get("after");
      sockets.handleUpgrade(request, socket, head, (ws) => new Viewer(ws, session, true, role, after === null ? undefined : Number(after)));
    } catch (error) {
      socket.end(`HTTP/1.1 ${error.status ?? 500} Refused\r\nconnection: close\r\n\r\n`);
    }
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  const stop = async () => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, stop };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { url } = await serve(Number(process.env.PORT ?? 7080));
  console.log(`fake daemon at ${url}, admin token ${ADMIN_TOKEN}, invites ${url}/join/inv_demo, inv_user, inv_gateway`);
}
