// A TCP connection that speaks HTTP by hand, for peers that do not behave. It never closes by itself.
import { connect, type Socket } from 'node:net';

/** A raw connection that keeps its side open whatever the other does. */
export async function rawConnection(port: number, head: readonly string[]): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve);
  });
  socket.write([...head, '', ''].join('\r\n'));
  return socket;
}
