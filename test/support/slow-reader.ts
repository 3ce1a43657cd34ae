// A WebSocket client that is in a session and reads from the network as slowly as a test wants, or not at all, while it goes
// on answering for its life. What it reads it throws away.
import type { Socket } from 'node:net';
import { openRaw } from './raw-socket.js';

/** It says that it lives so often, milliseconds, asked or not: it would hear of the question too late. */
const LIVES_EVERY_MS = 5000;
const READ_EVERY_MS = 1000;

export interface SlowReader {
  close(): void;
}

/** Joins, and from then on reads `bytesPerS` at most; 0: nothing. */
export async function openSlowReader(url: string, sessionId: string, bytesPerS: number): Promise<SlowReader> {
  const raw = await openRaw(url);
  const joined = await raw.ask('session:join', JSON.stringify({ sessionId }));
  if (!joined.ok) throw new Error(`the slow reader could not join: ${JSON.stringify(joined.error)}`);
  const { ws } = raw;
  const network = (ws as unknown as { _socket: Socket })._socket;
  network.removeAllListeners('data');
  network.on('error', () => undefined);
  network.pause();
  const reading = setInterval(() => bytesPerS > 0 && network.read(bytesPerS), READ_EVERY_MS);
  const living = setInterval(() => network.writable && ws.send('3'), LIVES_EVERY_MS);
  return {
    close() {
      clearInterval(reading);
      clearInterval(living);
      raw.close();
    },
  };
}
