// A session's terminal over its WebSocket: joins, acknowledges, and joins again at the exact byte.
//
//   connecting ─▶ live ─▶ reconnecting ─▶ live …
//                  │           │
//                  └───────────┴─▶ over (ended, or refused)
//
// The sequence number of the last frame on the screen is all that is kept between two connections.

import { Refusal, session, sessionPath, type FromTerminal, type Reason, type Role, type ToTerminal } from "./api";

/** Pauses between two tries, in milliseconds: the first, and the longest. */
const RETRY = { first: 200, most: 5000 };
/** Acknowledged at least this often, in bytes; the server lets 256 KiB be on their way. */
const ACK_BYTES = 64 << 10;
/** And when nothing has come for so long, in milliseconds. */
const ACK_IDLE = 50;
/** Longest message of typed bytes; the server takes 64 KiB. */
const INPUT_CHUNK = 32 << 10;

export type State = "connecting" | "live" | "reconnecting" | "over";

/** What a connection tells. */
export interface Listener {
  state(state: State): void;
  /** Clear everything, take this size. What follows begins with the screen's content. */
  reset(cols: number, rows: number): void;
  resize(cols: number, rows: number): void;
  /** Shows bytes; calls back once they are on the screen. */
  output(bytes: Uint8Array, shown: () => void): void;
  role(role: Role): void;
  notice(text: string | null): void;
  ended(reason: Reason | null, code: number | null): void;
  refused(refusal: Refusal): void;
}

export class Connection {
  private socket: WebSocket | undefined;
  private state: State = "connecting";
  /** The last frame that was handed to the screen. */
  private seq: number | undefined;
  /** Asked for on joining again; the server decides the first time. */
  private role: Role | undefined;
  private pause = RETRY.first;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private unacknowledged = 0;
  private idle: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly id: string,
    private readonly listener: Listener,
  ) {}

  open(): void {
    addEventListener("online", this.hurry);
    addEventListener("offline", this.lost);
    document.addEventListener("visibilitychange", this.hurry);
    this.connect();
  }

  close(): void {
    this.enter("over");
    clearTimeout(this.retry);
    clearTimeout(this.idle);
    removeEventListener("online", this.hurry);
    removeEventListener("offline", this.lost);
    document.removeEventListener("visibilitychange", this.hurry);
    this.socket?.close(1000);
    this.socket = undefined;
  }

  /** Types bytes. What is typed while nobody listens is dropped, as on a line that is down. */
  type(bytes: Uint8Array<ArrayBuffer>): void {
    for (let at = 0; this.state === "live" && at < bytes.length; at += INPUT_CHUNK) {
      this.socket?.send(bytes.subarray(at, at + INPUT_CHUNK));
    }
  }

  tell(message: ToTerminal): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private connect(): void {
    clearTimeout(this.retry);
    const url = new URL(`${sessionPath(this.id)}/terminal`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.role) url.searchParams.set("role", this.role);
    if (this.seq !== undefined) url.searchParams.set("after", String(this.seq));
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.pause = RETRY.first;
      this.enter("live");
    };
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (this.socket !== socket) return;
      if (typeof event.data === "string") this.hear(JSON.parse(event.data) as FromTerminal);
      else this.see(event.data);
    };
    socket.onclose = () => {
      if (this.socket === socket) void this.down();
    };
    this.socket = socket;
  }

  private hear(message: FromTerminal): void {
    switch (message.type) {
      case "snapshot":
        // Until its content is here the screen holds nothing that a later connection could go on from.
        this.seq = undefined;
        this.listener.reset(message.cols, message.rows);
        break;
      case "resize":
        this.seq = message.seq;
        this.listener.resize(message.cols, message.rows);
        break;
      case "role":
        this.role = message.role;
        this.listener.role(message.role);
        break;
      case "notice":
        this.listener.notice(message.text);
        break;
      case "exit":
        this.close();
        this.listener.ended(message.reason, message.code);
    }
  }

  private see(data: ArrayBuffer): void {
    const seq = Number(new DataView(data).getBigUint64(0));
    const bytes = new Uint8Array(data, 8);
    const socket = this.socket;
    this.seq = seq;
    this.listener.output(bytes, () => {
      // What an earlier connection brought needs no acknowledgement on this one.
      if (socket === this.socket) this.shown(seq, bytes.length);
    });
  }

  private shown(seq: number, length: number): void {
    this.unacknowledged += length;
    clearTimeout(this.idle);
    const acknowledge = (): void => {
      this.unacknowledged = 0;
      this.tell({ type: "ack", seq });
    };
    if (this.unacknowledged >= ACK_BYTES) acknowledge();
    else this.idle = setTimeout(acknowledge, ACK_IDLE);
  }

  /** The connection is gone. A browser does not say why, so the daemon is asked. */
  private async down(): Promise<void> {
    this.socket = undefined;
    this.unacknowledged = 0;
    clearTimeout(this.idle);
    if (this.state === "over") return;
    this.enter("reconnecting");
    // Before asking: a browser that comes back meanwhile must not wait for the answer.
    this.retry = setTimeout(() => this.connect(), this.pause * (0.75 + Math.random() / 2));
    this.pause = Math.min(this.pause * 2, RETRY.most);
    try {
      const now = await session(this.id);
      if (this.isOver() || now.phase !== "ended") return;
      this.close();
      this.listener.ended(now.reason, now.exit_code);
    } catch (error) {
      if (this.isOver() || !(error instanceof Refusal) || ![401, 403, 404].includes(error.status)) return;
      this.close();
      this.listener.refused(error);
    }
  }

  private isOver(): boolean {
    return this.state === "over";
  }

  private enter(state: State): void {
    if (this.state === state || this.state === "over") return;
    this.state = state;
    this.listener.state(state);
  }

  private readonly hurry = (): void => {
    if (this.state === "reconnecting" && this.socket === undefined && !document.hidden) {
      this.pause = RETRY.first;
      this.connect();
    }
  };

  private readonly lost = (): void => {
    const socket = this.socket;
    socket?.close();
    if (socket) void this.down();
  };
}
