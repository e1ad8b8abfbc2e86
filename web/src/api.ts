// The daemon's words, as in src/api.rs, and the few calls that the page makes.

export type Phase = "spare" | "requested" | "starting" | "running" | "stopping" | "ended";
export type Role = "driver" | "observer";
export type Credential = "user" | "gateway" | "demo";

export type Reason =
  | { reason: "exited"; code: number }
  | { reason: "idle" | "ttl" | "budget" | "disk" | "oom" | "daemon_lost_container" | "key_lost" }
  | { reason: "operator"; note?: string }
  | { reason: "program_failed" | "engine" | "damaged"; error: string };

export interface Totals {
  turns: number;
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens: number;
  cache_creation_tokens: number;
  cost_usd: number;
  tools: number;
  errors: number;
}

export interface Session {
  id: string;
  user: { name: string; email: string };
  profile: string;
  phase: Phase;
  reason: Reason | null;
  exit_code: number | null;
  created_at: string;
  ended_at: string | null;
  expires_at: string | null;
  active_at: string | null;
  viewers: number;
  warning: string | null;
  recorded_bytes: number;
  totals: Totals;
  completeness: number | null;
}

export interface SessionList {
  sessions: Session[];
}

export interface Invitation {
  profile: string;
  credential: Credential;
  ttl_s: number;
  recorded: string[];
  expires_at: string;
}

export interface JoinRequest {
  name: string;
  email: string;
  consent: boolean;
  api_key?: string;
  cols: number;
  rows: number;
}

export interface InviteRequest {
  profile?: string;
  uses: number;
  expires_s: number;
}

export interface Invite {
  url: string;
  profile: string;
  uses: number;
  expires_at: string;
}

export interface Info {
  version: string;
  profiles: string[];
}

export interface Whoami {
  admin: boolean;
  name: string | null;
}

export type FromTerminal =
  | { type: "snapshot"; seq: number; cols: number; rows: number }
  | { type: "resize"; seq: number; cols: number; rows: number }
  | { type: "role"; role: Role }
  | { type: "notice"; text: string | null }
  | { type: "exit"; code: number | null; reason: Reason };

export type ToTerminal =
  | { type: "resize"; cols: number; rows: number }
  | { type: "role"; role: Role }
  | { type: "ack"; seq: number };

interface Problem {
  code: string;
  message: string;
  field?: string;
}

/** The daemon refused, or did not answer (`status` 0). */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field: string | undefined,
  ) {
    super(message);
  }
}

const V1 = "/api/v1";

/** Where a session's things are. */
export function sessionPath(id: string): string {
  return `${V1}/sessions/${encodeURIComponent(id)}`;
}

/** The list of live sessions as a stream of server-sent events. */
export const LIST_STREAM = `${V1}/sessions`;

export const whoami = (): Promise<Whoami> => call("GET", `${V1}/whoami`);
export const info = (): Promise<Info> => call("GET", `${V1}/info`);
export const session = (id: string): Promise<Session> => call("GET", sessionPath(id));
export const endSession = (id: string): Promise<Session> => call("DELETE", sessionPath(id));
export const login = (token: string): Promise<void> => call("POST", `${V1}/login`, { token });
export const logout = (): Promise<void> => call("POST", `${V1}/logout`);
export const makeInvite = (request: InviteRequest): Promise<Invite> => call("POST", `${V1}/invites`, request);
export const invitation = (token: string): Promise<Invitation> =>
  call("GET", `${V1}/invites/${encodeURIComponent(token)}`);
export const join = (token: string, request: JoinRequest): Promise<Session> =>
  call("POST", `${V1}/invites/${encodeURIComponent(token)}/join`, request);

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const request: RequestInit = { method, credentials: "same-origin", headers: { accept: "application/json" } };
  if (body !== undefined) {
    request.headers = { ...request.headers, "content-type": "application/json" };
    request.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Refusal(0, "away", "The daemon does not answer. Try again in a moment.", undefined);
  }
  if (!response.ok) {
    const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
    const message = problem.message ?? `The daemon answered ${response.status}.`;
    throw new Refusal(response.status, problem.code ?? "", message, problem.field);
  }
  return (response.status === 204 ? undefined : await response.json()) as T;
}
