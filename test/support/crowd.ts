// Many sockets that are in sessions and cost a test next to nothing each: they come back, elsewhere, when they lose their
// connection, as the SDK would. What they are sent they count.
import { RawWebSocket } from '../bench/raw-websocket.js';

/** Sockets that connect at the same time when the crowd is made. */
const AT_ONCE = 100;
/** Pause before a socket comes back, milliseconds: as the SDK's first, doubled up to the longest. */
const BACK_MS = 300;
const BACK_MAX_MS = 5000;
const PING = '2'.charCodeAt(0);

export interface Crowd {
  /** Sockets that are in their session now. */
  readonly inside: number;
  close(): Promise<void>;
}

/** Lets `count` sockets into `sessionIds`, spread over `urls()`; resolves when all are in. */
export async function startCrowd(
  count: number,
  sessionIds: readonly string[],
  urls: () => readonly string[],
): Promise<Crowd> {
  let inside = 0;
  let isClosed = false;
  const sockets = new Set<RawWebSocket>();

  /** Resolves when it is in for the first time. */
  const member = (n: number): Promise<void> =>
    new Promise((resolve) => {
      const sessionId = sessionIds[n % sessionIds.length]!;
      let attempts = 0;
      const come = () => {
        if (isClosed) return;
        const all = urls();
        const url = new URL('/socket.io/?EIO=4&transport=websocket', all[(n + attempts) % all.length]);
        let isIn = false;
        const socket = new RawWebSocket(url, {
          onText(buffer, start, end) {
            if (buffer[start] === PING) return socket.send('3');
            if (isIn || end - start < 2) return;
            const head = buffer.toString('latin1', start, Math.min(end, start + 16));
            if (head.startsWith('0{')) socket.send('40{"protocol":1}');
            else if (head.startsWith('40')) socket.send(`420["session:join",${JSON.stringify({ sessionId })}]`);
            else if (head.startsWith('430[{"ok":true')) {
              isIn = true;
              inside += 1;
              attempts = 0;
              resolve();
            }
            // Refused: it comes again.
            else if (head.startsWith('430[')) void socket.close();
          },
          onEnd() {
            sockets.delete(socket);
            if (isIn) inside -= 1;
            attempts += 1;
            setTimeout(come, Math.min(BACK_MAX_MS, BACK_MS * 2 ** (attempts - 1)) * (0.5 + Math.random() / 2));
          },
        });
        sockets.add(socket);
      };
      come();
    });

  for (let n = 0; n < count; n += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - n) }, (_, i) => member(n + i)));
  }
  return {
    get inside() {
      return inside;
    },
    async close() {
      isClosed = true;
      await Promise.all([...sockets].map((socket) => socket.close()));
    },
  };
}
