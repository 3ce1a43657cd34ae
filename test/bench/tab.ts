// One client as the server sees a browser tab: Engine.IO 4 and Socket.IO 5 by hand on a raw WebSocket. Parses only what
// somebody asks for.
import { RawWebSocket, type TextHandler } from './raw-websocket.js';

/** An acknowledgement: `[` is at `start`. The buffer is only valid during the call. */
type AckHandler = TextHandler;

const requestTimeoutMs = 30_000;

const charZero = 48;
const charNine = 57;
const packetOpen = 48;
const packetClose = 49;
const packetPing = 50;
const packetMessage = 52;
const messageConnect = 48;
const messageDisconnect = 49;
const messageEvent = 50;
const messageAck = 51;
const messageConnectError = 52;

const okPrefix = Buffer.from('[{"ok":true');
const settingsPrefix = Buffer.from('["settings:updated"');

export class Tab {
  /** Called for each event; `start` is at the `[` of its JSON array. The buffer is only valid during the call. */
  onEvent: TextHandler = () => undefined;
  private readonly webSocket: RawWebSocket;
  private readonly clientId: string;
  private readonly acks = new Map<number, AckHandler>();
  private nextAckId = 0;
  private state: 'opening' | 'open' | 'closing' = 'opening';
  private readonly settle: { opened: () => void; refused: (error: Error) => void };

  private constructor(url: string, clientId: string, settle: Tab['settle']) {
    this.clientId = clientId;
    this.settle = settle;
    this.webSocket = new RawWebSocket(new URL('/socket.io/?EIO=4&transport=websocket', url), {
      onText: (buffer, start, end) => this.packet(buffer, start, end),
      onEnd: (reason) => this.lost(reason),
    });
  }

  /** Connects to the default namespace of the server at `url` (`http://host:port`). */
  static open(url: string, clientId: string): Promise<Tab> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => tab.lost(`no answer within ${requestTimeoutMs} ms`), requestTimeoutMs);
      const opened = (): void => {
        clearTimeout(timer);
        tab.state = 'open';
        resolve(tab);
      };
      const refused = (error: Error): void => {
        clearTimeout(timer);
        void tab.close();
        reject(error);
      };
      const tab: Tab = new Tab(url, clientId, { opened, refused });
    });
  }

  /** Sends an event whose argument is already JSON. `onAck` is called when its acknowledgement arrives. */
  emit(event: string, json: string, onAck: AckHandler): void {
    const id = this.nextAckId++;
    this.acks.set(id, onAck);
    this.webSocket.send(`42${id}["${event}",${json}]`);
  }

  /** Sends an event and resolves with its acknowledgement; rejects where that is not `ok` or does not come. */
  request(event: string, body: object): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new Error(`${event}: no acknowledgement within ${requestTimeoutMs} ms`));
      const timer = setTimeout(late, requestTimeoutMs);
      this.emit(event, JSON.stringify(body), (buffer, start, end) => {
        clearTimeout(timer);
        const text = buffer.toString('utf8', start, end);
        if (ackCode(buffer, start, end) === 'ok') resolve((JSON.parse(text) as [Record<string, unknown>])[0]);
        else reject(new Error(`${event}: ${text}`));
      });
    });
  }

  async close(): Promise<void> {
    this.state = 'closing';
    await this.webSocket.close();
  }

  private packet(buffer: Buffer, start: number, end: number): void {
    const type = buffer[start];
    if (type === packetMessage) this.message(buffer, start + 1, end);
    else if (type === packetPing) this.webSocket.send('3');
    else if (type === packetOpen)
      this.webSocket.send(`40${JSON.stringify({ clientId: this.clientId, kind: 'tab', protocol: 1 })}`);
    else if (type === packetClose) this.lost('closed by the server');
  }

  private message(buffer: Buffer, start: number, end: number): void {
    const type = buffer[start];
    if (type === messageEvent) this.onEvent(buffer, start + 1, end);
    else if (type === messageAck) this.ack(buffer, start + 1, end);
    else if (type === messageConnect) this.settle.opened();
    else if (type === messageConnectError) this.lost(`refused: ${buffer.toString('utf8', start + 1, end)}`);
    else if (type === messageDisconnect) this.lost('disconnected by the server');
  }

  private ack(buffer: Buffer, start: number, end: number): void {
    let id = 0;
    let position = start;
    for (let char = buffer[position]!; char >= charZero && char <= charNine; char = buffer[++position]!) {
      id = id * 10 + (char - charZero);
    }
    const handler = this.acks.get(id);
    this.acks.delete(id);
    handler?.(buffer, position, end);
  }

  /** A tab that is lost in the middle of a run makes the figure worthless, so it ends the client process. */
  private lost(reason: string): void {
    if (this.state === 'closing') return;
    const error = new Error(`tab ${this.clientId}: ${reason}`);
    if (this.state === 'open') throw error;
    this.settle.refused(error);
  }
}

/** `ok`, or the code of the error, of the acknowledgement at `start`. */
export function ackCode(buffer: Buffer, start: number, end: number): string {
  if (startsWith(buffer, start, end, okPrefix)) return 'ok';
  const [body] = JSON.parse(buffer.toString('utf8', start, end)) as [{ ok?: boolean; error?: { code?: string } }];
  return body.ok ? 'ok' : (body.error?.code ?? 'no code');
}

/** Whether the event at `start` is `settings:updated`. */
export function isSettingsUpdated(buffer: Buffer, start: number, end: number): boolean {
  return startsWith(buffer, start, end, settingsPrefix);
}

function startsWith(buffer: Buffer, start: number, end: number, prefix: Buffer): boolean {
  const prefixEnd = start + prefix.length;
  return prefixEnd <= end && buffer.compare(prefix, 0, prefix.length, start, prefixEnd) === 0;
}
