// A client's connection to a node of the simulation, and the history of all that clients did and saw.
import type { Author, Cursor } from '../../client-sdk/protocol/messages.js';
import type { Entry, Fail, Info, Ok } from '../support/history-entries.js';
import type { Wire } from '../support/shapes.js';
import { Pipe, type Network } from './network.js';
import { NodeSocket, type SimNode } from './node.js';

const NS_PER_MS = 1e6;
const COMMITS = new Set([
  'settings:updated',
  'message:added',
  'message:updated',
  'message:deleted',
  'session:described',
  'session:cleared',
]);

export type Ended = Ok | Fail | Info;
type WithoutTime<E> = E extends Entry ? Omit<E, 'at'> : never;

/** What happened, in its order and with virtual times. */
export class History {
  readonly entries: Entry[] = [];
  private readonly now: () => number;
  private last = 0n;
  private attempts = 0;

  constructor(now: () => number) {
    this.now = now;
  }

  happened(what: WithoutTime<Entry>): Entry {
    const at = BigInt(Math.round(this.now() * NS_PER_MS));
    this.last = at > this.last ? at : this.last + 1n;
    const entry = { at: this.last, ...what } as Entry;
    this.entries.push(entry);
    return entry;
  }

  attempt(): string {
    this.attempts += 1;
    return `a${this.attempts}`;
  }
}

interface Call {
  readonly attempt: string;
  readonly event: string;
  readonly sessionId: string;
  /** Called when it has ended, by the answer or without one. */
  end(what: WithoutTime<Ended>): void;
}

/** Open from the beginning: making the connection itself is not simulated. */
export class Line {
  readonly name: string;
  /** Where it is in each session. */
  readonly cursors = new Map<string, Cursor>();
  isOpen = true;
  /** Resolves when it is closed, by whom ever. */
  readonly closed: Promise<void>;
  private readonly history: History;
  private readonly network: Network;
  private readonly node: SimNode;
  private readonly socket: NodeSocket;
  private readonly up: Pipe;
  private readonly down: Pipe;
  private readonly calls = new Map<number, Call>();
  private sayClosed!: () => void;
  private requests = 0;
  private heard = 0;

  constructor(name: string, author: Author, node: SimNode, network: Network, history: History) {
    this.name = name;
    this.history = history;
    this.network = network;
    this.node = node;
    this.closed = new Promise((resolve) => (this.sayClosed = resolve));
    this.up = new Pipe(network, 'clients', node.place, () => this.lose());
    this.down = new Pipe(network, node.place, 'clients', () => this.lose());
    this.socket = new NodeSocket(node, author, {
      answer: (request, answer) => this.down.send('answer', () => this.answered(request, answer)),
      event: (event, body) => this.down.send(event, () => this.seen(event, body)),
      gone: () => this.down.end('gone', () => this.lose()),
    });
    history.happened({ kind: 'connect', socket: name, node: node.process.name });
  }

  /** Sends, and resolves with how it ended, which is `info` where no answer came in `timeoutMs`; never rejects. */
  call(event: string, body: Wire, timeoutMs: number): Promise<Ended> {
    const attempt = this.history.attempt();
    this.history.happened({ kind: 'invoke', socket: this.name, attempt, event, request: body });
    const request = (this.requests += 1);
    return new Promise((resolve) => {
      const end = (what: WithoutTime<Ended>) => {
        if (!this.calls.delete(request)) return;
        timeout.cancel();
        resolve(this.history.happened(what) as Ended);
      };
      const timeout = this.network.scheduler.after(timeoutMs, '', () =>
        end({ kind: 'info', attempt, why: 'no answer' }),
      );
      this.calls.set(request, { attempt, event, sessionId: body.sessionId, end });
      if (!this.isOpen) return end({ kind: 'info', attempt, why: 'the line is closed' });
      const { heard } = this;
      const what = `${this.name} ${event} ${body.updateId ?? ''}`;
      this.up.send(what, () => this.node.process.receive(() => this.socket.receive(request, event, body, heard)));
    });
  }

  /** The client closes it: what it sent may still arrive. */
  close(): void {
    if (!this.isOpen) return;
    this.up.end('close', () => this.node.process.receive(() => this.socket.close()));
    this.over();
  }

  /** The connection is lost: the client learns it at once, the node soon; what is under way may be lost. */
  lose(): void {
    if (!this.isOpen) return;
    if (this.network.scheduler.chance(0.5)) this.up.drop();
    this.close();
  }

  private over(): void {
    this.isOpen = false;
    this.down.close();
    this.down.drop();
    this.cursors.clear();
    this.history.happened({ kind: 'disconnect', socket: this.name });
    for (const call of this.calls.values()) call.end({ kind: 'info', attempt: call.attempt, why: 'disconnected' });
    this.sayClosed();
  }

  private answered(request: number, answer: Wire): void {
    this.heard += 1;
    if (!answer.ok) {
      // The client's PONG.
      const { heard } = this;
      this.up.send('pong', () => this.node.process.receive(() => this.socket.pong(heard)));
    }
    const call = this.calls.get(request);
    if (!call) return;
    const { attempt, event, sessionId } = call;
    if (answer.ok && event === 'session:join') this.at(sessionId, answer.session ?? answer);
    if (answer.ok && event === 'session:leave') this.cursors.delete(sessionId);
    if (answer.ok) call.end({ kind: 'ok', attempt, answer });
    else if (answer.error.outcome === 'not-committed') call.end({ kind: 'fail', attempt, error: answer.error });
    else call.end({ kind: 'info', attempt, why: answer.error.code });
  }

  private seen(event: string, body: Wire): void {
    const { name: socket } = this;
    if (COMMITS.has(event)) {
      this.history.happened({ kind: 'commit', socket, body: { ...body, event } });
      this.at(body.sessionId, body);
    } else if (event === 'session:snapshot') {
      this.history.happened({ kind: 'snapshot', socket, body });
      this.at(body.sessionId, body.session);
    } else if (event === 'session:deleted') this.cursors.delete(body.sessionId);
  }

  private at(sessionId: string, { epoch, revision }: Cursor): void {
    this.cursors.set(sessionId, { epoch, revision });
  }
}
