// A WebSocket that speaks Engine.IO and Socket.IO by hand: for what the client library would refuse to send or read.
// It never encodes for the test: payloads are text.
import { WebSocket } from 'ws';
import type { Wire } from './shapes.js';
import { until } from './until.js';

export interface RawSocket {
  readonly ws: WebSocket;
  /** Every text frame received, in order. */
  readonly frames: string[];
  /** Server events received so far, parsed. */
  events(): { event: string; body: Wire }[];
  /** Sends an event with the given JSON texts as arguments and resolves with its acknowledgement. */
  ask(event: string, ...jsonArgs: string[]): Promise<Wire>;
  close(): void;
}

const open = new Set<RawSocket>();

/** Closes every socket that openRaw() opened: for afterEach. */
export function closeRawSockets(): void {
  for (const socket of open) socket.close();
}

/** Opens a WebSocket, joins the namespace `/` with the given auth object, and resolves when it was accepted. */
export async function openRaw(url: string, auth: Record<string, unknown> = {}): Promise<RawSocket> {
  const ws = new WebSocket(`${url.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`);
  const frames: string[] = [];
  let asked = 0;
  ws.on('message', (data: Buffer) => {
    const frame = data.toString('utf8');
    if (frame === '2') ws.send('3');
    else frames.push(frame);
  });
  await new Promise<void>((resolve, reject) => {
    ws.once('open', resolve);
    ws.once('error', reject);
  });
  ws.send(`40${JSON.stringify({ protocol: 1, ...auth })}`);
  await until(() => frames.find((frame) => frame.startsWith('40')), { what: 'the CONNECT answer' });
  const socket: RawSocket = {
    ws,
    frames,
    events: () =>
      frames
        .filter((frame) => frame.startsWith('42'))
        .map((frame) => JSON.parse(frame.slice(2)) as [string, Wire])
        .map(([event, body]) => ({ event, body })),
    async ask(event, ...jsonArgs) {
      const id = asked;
      asked += 1;
      ws.send(`42${id}[${[JSON.stringify(event), ...jsonArgs].join(',')}]`);
      const answer = await until(() => frames.find((frame) => frame.startsWith(`43${id}[`)), {
        what: `the answer to ${event}`,
      });
      return (JSON.parse(answer.slice(`43${id}`.length)) as Wire[])[0];
    },
    close() {
      open.delete(socket);
      ws.terminate();
    },
  };
  open.add(socket);
  return socket;
}
