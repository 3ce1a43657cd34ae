// One client WebSocket (RFC 6455) that reads frames in place, so that the load generator is not what is measured: a
// frame costs it a small fraction of what it costs the server. Text frames of a server on this machine only; no
// compression, no fragments, no TLS.
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

/** Where one text message lies in a buffer that is only valid during the call. */
export type TextHandler = (buffer: Buffer, start: number, end: number) => void;

const closeTimeoutMs = 2_000;

const opcodeText = 1;
const opcodeClose = 8;
const opcodePing = 9;
const opcodePong = 10;
const finalFlag = 0x80;
const maskFlag = 0x80;

// All sockets read into the same memory: Node fills it and calls back before it reads from the next socket.
const sharedReadBuffer = Buffer.allocUnsafeSlow(256 * 1024);

export interface WebSocketHandlers {
  onText: TextHandler;
  /** Called once when the connection ends for whatever reason, also where it never opened and after `close()`. */
  onEnd: (reason: string) => void;
}

export class RawWebSocket {
  private readonly handlers: WebSocketHandlers;
  private readonly socket: Socket;
  /** Bytes of a frame (or of the upgrade reply) that has not arrived whole. */
  private partial: Buffer | undefined;
  private upgraded = false;
  private ended = false;

  /** Connects at once; the first text or the end tells how it went. */
  constructor(url: URL, handlers: WebSocketHandlers) {
    this.handlers = handlers;
    const onread = { buffer: sharedReadBuffer, callback: (size: number): boolean => this.read(size) };
    this.socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true, onread });
    this.socket.on('error', (error) => this.end(error.message));
    this.socket.on('close', () => this.end('connection closed'));
    const key = randomBytes(16).toString('base64');
    const upgrade = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}`;
    this.socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n${upgrade}\r\n\r\n`);
  }

  send(text: string): void {
    this.sendFrame(opcodeText, text);
  }

  /** Says goodbye and resolves when the connection is gone. */
  async close(): Promise<void> {
    if (this.ended || this.socket.destroyed) return;
    const gone = new Promise<void>((resolve) => this.socket.once('close', () => resolve()));
    const timer = setTimeout(() => this.socket.destroy(), closeTimeoutMs);
    this.sendFrame(opcodeClose, '');
    this.socket.end();
    await gone;
    clearTimeout(timer);
  }

  private sendFrame(opcode: number, text: string): void {
    const length = Buffer.byteLength(text);
    if (length > 0xffff) throw new Error(`bench messages are below 64 KiB, this one has ${length} bytes`);
    const headerLength = length < 126 ? 6 : 8;
    const frame = Buffer.allocUnsafe(headerLength + length);
    frame[0] = finalFlag | opcode;
    if (length < 126) {
      frame[1] = maskFlag | length;
    } else {
      frame[1] = maskFlag | 126;
      frame.writeUInt16BE(length, 2);
    }
    // A mask of zeroes is as good as any for a server and spares us the masking.
    frame.writeUInt32BE(0, headerLength - 4);
    frame.write(text, headerLength);
    this.socket.write(frame);
  }

  private read(size: number): boolean {
    const arrived = sharedReadBuffer.subarray(0, size);
    const buffer = this.partial ? Buffer.concat([this.partial, arrived]) : arrived;
    const used = this.upgraded ? this.readFrames(buffer, 0) : this.readUpgrade(buffer);
    this.partial = used < buffer.length ? Buffer.from(buffer.subarray(used)) : undefined;
    return true;
  }

  private readUpgrade(buffer: Buffer): number {
    const headEnd = buffer.indexOf('\r\n\r\n');
    if (headEnd < 0) return 0;
    const head = buffer.toString('latin1', 0, headEnd);
    if (!head.startsWith('HTTP/1.1 101 ')) {
      this.end(`upgrade refused: ${head}`);
      this.socket.destroy();
      return buffer.length;
    }
    this.upgraded = true;
    return this.readFrames(buffer, headEnd + 4);
  }

  /** Hands on all whole frames from `offset` and returns where the first partial one begins. */
  private readFrames(buffer: Buffer, offset: number): number {
    let position = offset;
    while (position + 2 <= buffer.length) {
      const lengthField = buffer[position + 1]! & 0x7f;
      let start = position + 2;
      let length = lengthField;
      if (lengthField === 126) {
        if (position + 4 > buffer.length) break;
        length = buffer.readUInt16BE(position + 2);
        start = position + 4;
      } else if (lengthField === 127) {
        if (position + 10 > buffer.length) break;
        length = Number(buffer.readBigUInt64BE(position + 2));
        start = position + 10;
      }
      const end = start + length;
      if (end > buffer.length) break;
      this.frame(buffer[position]!, buffer, start, end);
      position = end;
    }
    return position;
  }

  private frame(first: number, buffer: Buffer, start: number, end: number): void {
    if (first === (finalFlag | opcodeText)) this.handlers.onText(buffer, start, end);
    else if (first === (finalFlag | opcodePing)) this.sendFrame(opcodePong, buffer.toString('utf8', start, end));
    else if (first === (finalFlag | opcodeClose)) this.closedByServer(buffer, start, end);
    else if (first !== (finalFlag | opcodePong)) this.end(`unexpected frame 0x${first.toString(16)}`);
  }

  private closedByServer(buffer: Buffer, start: number, end: number): void {
    const code = end - start >= 2 ? buffer.readUInt16BE(start) : undefined;
    this.socket.end();
    this.end(`closed by the server, code ${code ?? 'none'}`);
  }

  private end(reason: string): void {
    if (this.ended) return;
    this.ended = true;
    this.handlers.onEnd(reason);
  }
}
