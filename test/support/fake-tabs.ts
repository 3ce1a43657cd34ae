// Tabs without a browser: Web Locks in memory, Node's BroadcastChannel, and pages that can be frozen. It opens no socket.
import { BroadcastChannel } from 'node:worker_threads';
import type { LinkEvents, Reply } from '../../client-sdk/index.js';
import { ClientError } from '../../client-sdk/client-error.js';
import type { Line } from '../../client-sdk/shared-lines.js';
import { createTabLink, type TabLink, type TabSetting } from '../../client-sdk/tab-link.js';
import { freshId } from './shapes.js';

/** What tabs do again and again they do so many times as often: signs of life are counted, not timed. */
export const HASTE = 5;

type Held = { resolve: () => void; reject: (error: Error) => void };
interface LockRequest {
  readonly page: FakePage;
  readonly work: () => Promise<void>;
  readonly end: Held;
}

/** One lock, as the browser gives it to one page after the other. */
class FakeLock {
  private readonly waiting: LockRequest[] = [];
  private holder: LockRequest | null = null;

  request(
    page: FakePage,
    options: { signal?: AbortSignal; steal?: boolean },
    work: () => Promise<void>,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const request: LockRequest = { page, work, end: { resolve, reject } };
      options.signal?.addEventListener('abort', () => {
        const at = this.waiting.indexOf(request);
        if (at < 0) return;
        this.waiting.splice(at, 1);
        page.run(() => reject(abortError()));
      });
      if (options.steal) {
        const { holder } = this;
        this.holder = null;
        holder?.page.run(() => holder.end.reject(abortError()));
        this.waiting.unshift(request);
      } else this.waiting.push(request);
      this.next();
    });
  }

  /** The page is gone: it holds nothing, and waits for nothing. */
  drop(page: FakePage): void {
    this.waiting.splice(0, Infinity, ...this.waiting.filter((request) => request.page !== page));
    if (this.holder?.page === page) this.holder = null;
    this.next();
  }

  private next(): void {
    const request = this.holder ? undefined : this.waiting.shift();
    if (!request) return;
    this.holder = request;
    request.page.run(() => {
      void request.work().then(() => {
        if (this.holder === request) this.holder = null;
        request.end.resolve();
        this.next();
      });
    });
  }
}

const abortError = () => Object.assign(new Error('the lock was taken'), { name: 'AbortError' });

/** A page: what happens to it waits while it is frozen, and it says nothing then. */
class FakePage {
  private waiting: (() => void)[] | null = null;
  private readonly channels = new Set<BroadcastChannel>();

  run(work: () => void): void {
    if (this.waiting) this.waiting.push(work);
    else setImmediate(() => (this.waiting ? this.waiting.push(work) : work()));
  }

  get isFrozen(): boolean {
    return this.waiting !== null;
  }

  freeze(): void {
    this.waiting = [];
  }

  thaw(): void {
    const works = this.waiting ?? [];
    this.waiting = null;
    for (const work of works) this.run(work);
  }

  readonly openChannel = (name: string): BroadcastChannel => {
    const channel = new BroadcastChannel(name);
    const postMessage = channel.postMessage.bind(channel);
    channel.postMessage = (message: unknown) => void (this.isFrozen || postMessage(message));
    this.channels.add(channel);
    return new Proxy(channel, {
      get: (_, key) => {
        const value = channel[key as keyof BroadcastChannel] as unknown;
        return typeof value === 'function' ? (value.bind(channel) as unknown) : value;
      },
      set: (_, _key, listener: (event: unknown) => void) => {
        channel.onmessage = (event) => this.run(() => listener(event));
        return true;
      },
    });
  };

  end(): void {
    for (const channel of this.channels) channel.close();
  }
}

/** A line that the fake server was asked for. */
export interface FakeLine {
  readonly user: LinkEvents;
  readonly auth: unknown;
  readonly leader: string;
  isOpen: boolean;
  readonly asked: { event: string; body: object; answered: (reply: Reply | null) => void }[];
}

export interface FakeTab {
  readonly name: string;
  readonly page: FakePage;
  readonly link: TabLink;
  /** `opened`, `closed`, `closed <CODE>`, `received <event>`, `answered <…>`. */
  readonly log: string[];
  /** Sends; the answer goes to the log. */
  ask(event: string, body?: object, timeoutMs?: number): void;
}

/** A browser with tabs of one group, and the server's end of their lines. */
export class FakeBrowser {
  /** Lines that a connection has. */
  linesMax = 32;
  /** What comes of the next lines: opened at once, refused, or nothing. */
  fate: 'open' | 'refuse' | 'silence' = 'open';
  /** Timers of tabs never fire, as those of hidden ones may not for minutes. */
  timersRest = false;
  /** Locks cannot be had. */
  isForbidden = false;
  readonly lines: FakeLine[] = [];
  /** Connections that leaders have open, by the leader's name. */
  readonly connections: string[] = [];
  readonly tabs: FakeTab[] = [];
  /** Clients that use a socket of their own. */
  readonly alone: string[] = [];
  private readonly name = freshId('group');
  private readonly lock = new FakeLock();

  tab(name: string, auth: () => Promise<object> = () => Promise.resolve({ clientId: name })): FakeTab {
    const page = new FakePage();
    const log: string[] = [];
    const events: LinkEvents = {
      auth,
      opened: () => log.push('opened'),
      closed: (refusal) => log.push(refusal ? `closed ${refusal.code} ${refusal.retryAfterMs}` : 'closed'),
      received: (event, body) => log.push(`received ${event} ${JSON.stringify(body)}`),
    };
    const link = createTabLink('', events, {
      name: this.name,
      locks: this.locksOf(page) as unknown as TabSetting['locks'],
      openChannel: page.openChannel as unknown as TabSetting['openChannel'],
      // A frozen page has no timers.
      setInterval: (work, ms) => setInterval(() => page.isFrozen || this.timersRest || work(), ms / HASTE),
      openLines: () => this.openLines(name),
      ownLink: (_url, own) => ({
        open: () => {
          this.alone.push(name);
          own.opened();
        },
        close: () => undefined,
        request: (_event, _body, _timeoutMs, answered) => answered({ ok: true }),
      }),
    });
    const tab: FakeTab = {
      name,
      page,
      link,
      log,
      ask: (event, body = {}, timeoutMs = 5000) =>
        link.request(event, body, timeoutMs, (reply) => log.push(`answered ${JSON.stringify(reply)}`)),
    };
    this.tabs.push(tab);
    return tab;
  }

  /** Ends a tab without a word. */
  kill({ page }: FakeTab): void {
    page.freeze();
    this.lock.drop(page);
  }

  /** The open line of a tab, where it has one. */
  lineOf(name: string): FakeLine | undefined {
    return this.lines.findLast(({ auth, isOpen }) => isOpen && (auth as { clientId: string }).clientId === name);
  }

  end(): void {
    for (const { link, page } of this.tabs) {
      page.thaw();
      link.suspend();
      page.end();
    }
  }

  private locksOf(page: FakePage) {
    const request = (_name: string, options: { steal?: boolean }, work: () => Promise<void>) =>
      this.isForbidden
        ? Promise.reject(Object.assign(new Error('not here'), { name: 'SecurityError' }))
        : this.lock.request(page, options, work);
    return { request, query: () => new Promise<object>((resolve) => page.run(() => resolve({}))) };
  }

  private openLines(leader: string) {
    const own: FakeLine[] = [];
    this.connections.push(leader);
    const isOpenOf = (line: FakeLine) => line.isOpen;
    return {
      open: (user: LinkEvents): Line | null => {
        if (own.filter(isOpenOf).length >= this.linesMax) return null;
        let line: FakeLine | undefined;
        const { fate } = this;
        void user.auth().then((auth) => {
          line = { user, auth, leader, isOpen: fate === 'open', asked: [] };
          if (fate === 'refuse') user.closed(new ClientError('RATE_LIMITED', { retryAfterMs: 7 }));
          if (fate !== 'open') return;
          own.push(line);
          this.lines.push(line);
          user.opened();
        });
        return {
          request: (event, body, _timeoutMs, answered) => line?.asked.push({ event, body, answered }),
          close: () => {
            if (!line?.isOpen) return;
            line.isOpen = false;
            for (const { answered } of line.asked.splice(0)) answered(null);
          },
        };
      },
      close: () => {
        this.connections.splice(this.connections.indexOf(leader), 1);
        for (const line of own.filter(isOpenOf)) {
          line.isOpen = false;
          line.user.closed(null);
        }
      },
    };
  }
}
