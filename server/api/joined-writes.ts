// Joins what one turn has for a connection into one write: at fan-out the system call is most of the cost.
// engine.io hands over every packet at once. Here its packets wait in its own buffer for the end of the turn, and the
// frames they become are written together. Order, back-pressure and closing stay engine.io's.
import type { Server } from 'socket.io';
import { onConnection, type EngineConnection, type EngineTransport } from './engine-connection.js';

/** Makes every connection of `io` write once per turn of the event loop. Order is as before. */
export function joinWrites(io: Server): void {
  const atEndOfTurn = createEndOfTurn();
  onConnection(io, (connection) => {
    flushOncePerTurn(connection, atEndOfTurn);
    writeAtOnce(connection.transport);
    connection.on('upgrade', writeAtOnce);
  });
}

/** One immediate for all connections; it runs after the turn that delivers a batch and answers its writers. */
function createEndOfTurn(): (flush: () => void) => void {
  let waiting: (() => void)[] = [];
  const flushAll = () => {
    const flushes = waiting;
    waiting = [];
    for (const flush of flushes) flush();
  };
  return (flush) => {
    if (waiting.push(flush) === 1) setImmediate(flushAll);
  };
}

function flushOncePerTurn(connection: EngineConnection, atEndOfTurn: (flush: () => void) => void): void {
  const flush = connection.flush.bind(connection);
  let isWaiting = false;
  const flushNow = () => {
    isWaiting = false;
    flush();
  };
  connection.flush = () => {
    if (isWaiting) return;
    isWaiting = true;
    atEndOfTurn(flushNow);
  };
}

function writeAtOnce(transport: EngineTransport): void {
  if (transport.name !== 'websocket') return;
  const send = transport.send.bind(transport);
  transport.send = (packets) => {
    const stream = transport.socket?._socket;
    stream?.cork();
    send(packets);
    stream?.uncork();
  };
}
