// The React hooks in both Reacts, with the real client and a server that answers when told: what is joined, when a
// component renders again, and what a server renders.
import { expect } from 'chai';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ReactNode } from 'react';
import {
  ClientError,
  createClient,
  type AttuneClient,
  type Participant,
  type Session,
} from '../../client-sdk/index.js';
import type { Messages } from '../../client-sdk/react/index.js';
import { holdsSame } from '../../client-sdk/react/selection.js';
import { openStage, REACT_VERSIONS, type Stage } from '../support/react.js';
import { ScriptedServer } from '../support/scripted-server.js';
import { until } from '../support/until.js';

interface Settings {
  model: string;
  tags?: string[];
  options?: { temperature: number };
}

describe('comparing what was selected', () => {
  it('[RX4] what holds the same is the same: members and items, not order of keys, not other classes', () => {
    const at = new Date(0);
    const equal = [
      [
        { a: 1, b: [{ c: null }] },
        { b: [{ c: null }], a: 1 },
      ],
      [NaN, NaN],
      [at, at],
      [[], []],
    ];
    const unequal = [
      [{ a: 1 }, { a: 1, b: 2 }],
      [{ a: undefined }, { b: undefined }],
      [
        [1, 2],
        [2, 1],
      ],
      [[], {}],
      [{}, null],
      [at, new Date(0)],
      [{ toString: 1 }, { valueOf: 1 }],
    ];
    for (const [a, b] of equal) expect(holdsSame(a, b)).to.equal(true);
    for (const [a, b] of unequal) expect(holdsSame(a, b), JSON.stringify([a, b])).to.equal(false);
  });
});

for (const version of REACT_VERSIONS) {
  describe(`hooks in React ${version}`, () => {
    let stage: Stage;
    let server: ScriptedServer;
    let client: AttuneClient;
    let h: typeof import('react').createElement;

    before(async () => {
      stage = await openStage(version);
      h = stage.React.createElement;
    });
    after(() => stage.close());
    beforeEach(() => {
      server = new ScriptedServer();
      server.create('a', { model: 'one' });
      server.create('b', { model: 'two' });
      client = createClient({ clientId: 'me', transport: server.transport });
    });
    afterEach(() => {
      stage.clear();
      client.close();
      expect(stage.complaints.splice(0)).to.deep.equal([]);
    });

    const within = (...children: ReactNode[]) => h(stage.hooks.AttuneProvider, { client }, ...children);
    /** Waits for what the client does by itself; act renders what follows when it ends, so it ends before each look. */
    const settle = (probe: () => unknown) =>
      until(async () => {
        await stage.actLater(() => nextTurn());
        return Boolean(probe());
      });

    /** Shows the model, or a dash, and counts its renders. */
    function modelShower() {
      const shower = {
        renders: 0,
        Model: ({ id = 'a' }: { id?: string }) => {
          shower.renders += 1;
          return h('i', null, stage.hooks.useSettings(id, ({ model }: Settings) => model) ?? '-');
        },
      };
      return shower;
    }

    describe('joining', () => {
      it('[RX1] all components of a session join it once when they are mounted, and leave once after the last is gone', async () => {
        const { Model } = modelShower();
        const Everything = () => {
          stage.hooks.useSession('a');
          stage.hooks.useUpdateSettings('a');
          stage.hooks.usePresence('a');
          stage.hooks.useMessages('a');
          return null;
        };
        const tree = stage.mount(within(h(Model), h(Model, { key: 2 }), h(Everything)));
        await settle(() => tree.text() === 'oneone');
        tree.render(within(h(Model)));
        stage.act(() => server.change('a', { model: 'other' }));
        await settle(() => tree.text() === 'other');
        expect(server.count('session:leave')).to.equal(0);
        tree.unmount();
        await until(() => server.count('session:leave') > 0);
        expect(server.count('session:join')).to.equal(1);
        expect(server.count('session:leave')).to.equal(1);
      });

      it('[RX1] a component that only writes joins as well, with the options of its first use', async () => {
        const Writer = () => {
          stage.hooks.useSession('a', { create: true, delivery: 'latest', presence: { page: 1 } });
          return null;
        };
        stage.mount(within(h(Writer)));
        await settle(() => server.count('session:join') === 1);
        expect(server.asked[0]!.body).to.include({ create: true, delivery: 'latest' });
        expect(server.asked[0]!.body['presence']).to.deep.equal({ page: 1 });
      });

      it('[RX2] StrictMode, which mounts twice, joins once and leaves once', async () => {
        const { Model } = modelShower();
        const tree = stage.mount(h(stage.React.StrictMode, null, within(h(Model))));
        await settle(() => tree.text() === 'one');
        tree.unmount();
        await until(() => server.count('session:leave') > 0);
        expect(server.asked.map(({ event }) => event)).to.deep.equal(['session:join', 'session:leave']);
      });

      it('[RX2] a component that replaces another finds the session live', async () => {
        const { Model } = modelShower();
        const tree = stage.mount(within(h(Model, { key: 1 })));
        await settle(() => tree.text() === 'one');
        tree.render(within());
        tree.render(within(h(Model, { key: 2 })));
        expect(tree.text()).to.equal('one');
        expect(server.count('session:join')).to.equal(1);
      });

      it('[RX3] another id leaves one session and joins the other', async () => {
        const { Model } = modelShower();
        const tree = stage.mount(within(h(Model, { id: 'a' })));
        await settle(() => tree.text() === 'one');
        tree.render(within(h(Model, { id: 'b' })));
        await settle(() => tree.text() === 'two');
        await until(() => server.count('session:leave', 'a') === 1);
        expect(server.count('session:join', 'b')).to.equal(1);
        expect(server.count('session:leave', 'b')).to.equal(0);
      });

      it('[RX3] another client is used in place of the first', async () => {
        const { Model } = modelShower();
        const Status = () => h('b', null, stage.hooks.useConnectionStatus());
        const tree = stage.mount(within(h(Model), h(Status)));
        await settle(() => tree.text() === 'oneconnected');
        const elsewhere = new ScriptedServer();
        elsewhere.create('a', { model: 'far' });
        const other = createClient({ transport: elsewhere.transport });
        try {
          tree.render(h(stage.hooks.AttuneProvider, { client: other }, h(Model), h(Status)));
          await settle(() => tree.text() === 'farconnected');
        } finally {
          stage.clear();
          other.close();
        }
      });

      it('[RX3] a handle that ended before its component was mounted is replaced', async () => {
        const first = client.session('a');
        await first.ready();
        let isEnded = false;
        // It ends after the hooks below rendered with it, and before they subscribe.
        const End = () => {
          stage.React.useLayoutEffect(() => {
            if (isEnded) return;
            isEnded = true;
            client.close();
            client.connect();
          });
          return null;
        };
        let session: Session | undefined;
        const Holder = () => {
          session = stage.hooks.useSession('a');
          return null;
        };
        const { Model } = modelShower();
        const tree = stage.mount(within(h(End), h(Holder), h(Model)));
        expect(isEnded).to.equal(true);
        await settle(() => tree.text() === 'one');
        expect(session).not.to.equal(first);
      });

      it('[RX16] a handle that ended before its component was mounted is replaced each time that happens', async () => {
        server.create('c', { model: 'three' });
        let endsAt: string | undefined;
        const End = ({ id }: { id: string }) => {
          stage.React.useLayoutEffect(() => {
            if (id === endsAt) return;
            endsAt = id;
            client.close();
            client.connect();
          });
          return null;
        };
        const { Model } = modelShower();
        const tree = stage.mount(within(h(End, { id: 'a' }), h(Model, { id: 'a' })));
        await settle(() => tree.text() === 'one');
        for (const [id, model] of [
          ['b', 'two'],
          ['c', 'three'],
        ] as const) {
          tree.render(within(h(End, { id }), h(Model, { id })));
          expect(endsAt).to.equal(id);
          await settle(() => tree.text() === model);
        }
      });

      it('[RX17] whatever changes, and however fast, in StrictMode too, nothing that is not shown stays joined', async () => {
        const ids = ['a', 'b', 'c', 'd'];
        const servers = [server, new ScriptedServer()] as const;
        for (const one of servers) for (const id of ids) one.create(id, { model: id });
        const other = createClient({ transport: servers[1].transport });
        const { Model } = modelShower();
        const Everything = ({ id }: { id: string }) => {
          stage.hooks.useMessages(id);
          stage.hooks.usePresence(id);
          stage.hooks.useUpdateSettings(id);
          return h(Model, { id });
        };
        const shown = (now: AttuneClient, id: string) =>
          h(stage.React.StrictMode, null, h(stage.hooks.AttuneProvider, { client: now }, h(Everything, { id })));
        /** What each server thinks this page is in, by id. */
        const joined = () =>
          servers.flatMap((one, n) =>
            ids.filter((id) => one.count('session:join', id) > one.count('session:leave', id)).map((id) => `${n}${id}`),
          );
        try {
          const tree = stage.mount(shown(client, 'a'));
          for (let n = 1; n <= 40; n += 1) {
            tree.render(shown(n % 3 ? client : other, ids[n % 4]!));
            if (n % 5 === 0) await stage.actLater(() => nextTurn());
          }
          tree.render(shown(other, 'd'));
          await settle(() => tree.text() === 'd');
          expect(joined()).to.include('1d');
          await settle(() => joined().join() === '1d');
          tree.unmount();
          await until(() => joined().length === 0);
        } finally {
          stage.clear();
          other.close();
        }
      });
    });

    describe('a session that cannot be joined', () => {
      it('[RX15] it shows why, asks once however often it renders, and is tried again by mounting anew', async () => {
        const Why = () => {
          const [error, model] = [
            stage.hooks.useSessionState('new', (state) => state.error?.code),
            stage.hooks.useSettings('new', (settings: Settings) => settings.model),
          ];
          return h('i', null, error ?? model);
        };
        const tree = stage.mount(within(h(Why, { key: 1 })));
        await settle(() => tree.text() === 'SESSION_NOT_FOUND');
        for (let again = 0; again < 5; again += 1) {
          tree.render(within(h(Why, { key: 1 })));
          await stage.actLater(() => nextTurn());
        }
        expect(server.count('session:join')).to.equal(1);
        server.create('new', { model: 'born' });
        tree.render(within(h(Why, { key: 2 })));
        await settle(() => tree.text() === 'born');
        expect(server.count('session:join')).to.equal(2);
      });

      it('[RX15] a client that is closed under its components stays closed', async () => {
        const shower = modelShower();
        const tree = stage.mount(within(h(shower.Model)));
        await settle(() => tree.text() === 'one');
        stage.act(() => client.close());
        tree.render(within(h(shower.Model)));
        await stage.actLater(() => nextTurn());
        expect(client.status).to.equal('disconnected');
        expect(server.lines).to.equal(1);
      });
    });

    describe('rendering', () => {
      it('[RX4] a component renders again only when what it selects changed', async () => {
        const shower = modelShower();
        const tree = stage.mount(within(h(shower.Model)));
        await settle(() => tree.text() === 'one');
        const { renders } = shower;
        stage.act(() => server.change('a', { model: 'one', tags: ['x'] }));
        stage.act(() => server.enter('a', 'somebody'));
        stage.act(() => server.say('a', 'hello'));
        expect(shower.renders).to.equal(renders);
        stage.act(() => server.change('a', { model: 'new', tags: ['x'] }));
        expect(tree.text()).to.equal('new');
        expect(shower.renders).to.equal(renders + 1);
      });

      /** Shows the tags by a selector that makes a new list each time; counts renders and the lists that it was given. */
      function tagsShower(isEqual?: (a: string[], b: string[]) => boolean) {
        const shower = {
          renders: 0,
          lists: new Set<unknown>(),
          Tags: () => {
            shower.renders += 1;
            const tags = stage.hooks.useSettings('a', (settings: Settings) => [...(settings.tags ?? [])], isEqual);
            if (tags) shower.lists.add(tags);
            return h('i', null, tags?.join('+'));
          },
        };
        return shower;
      }

      it('[RX4] objects are compared by what they hold, and the one that is shown stays the same', async () => {
        const shower = tagsShower();
        server.change('a', { model: 'one', tags: ['x', 'y'] });
        const tree = stage.mount(within(h(shower.Tags)));
        await settle(() => tree.text() === 'x+y');
        const { renders } = shower;
        stage.act(() => server.change('a', { model: 'two', tags: ['x', 'y'] }));
        expect(shower.renders).to.equal(renders);
        tree.render(within(h(shower.Tags)));
        expect(shower.lists.size).to.equal(1);
        stage.act(() => server.change('a', { model: 'two', tags: ['x', 'z'] }));
        expect(tree.text()).to.equal('x+z');
        expect(shower.lists.size).to.equal(2);
      });

      it('[RX4] a comparison that is given decides what is a change', async () => {
        const shower = tagsShower((a, b) => a.length === b.length);
        server.change('a', { model: 'one', tags: ['x', 'y'] });
        const tree = stage.mount(within(h(shower.Tags)));
        await settle(() => tree.text() === 'x+y');
        const { renders } = shower;
        stage.act(() => server.change('a', { model: 'one', tags: ['other', 'ones'] }));
        expect(shower.renders).to.equal(renders);
        stage.act(() => server.change('a', { model: 'one', tags: ['z'] }));
        expect(tree.text()).to.equal('z');
      });

      it('[RX4] the selector is not asked before the settings are known, and isEqual not about what is not there', async () => {
        const asked: unknown[] = [];
        const Model = () => {
          const model = stage.hooks.useSettings(
            'a',
            (settings: Settings) => {
              asked.push(settings);
              return { of: settings.model };
            },
            (a, b) => a.of === b.of,
          );
          return h('i', null, model?.of ?? '-');
        };
        server.hold();
        const tree = stage.mount(within(h(Model)));
        await settle(() => server.count('session:join') === 1);
        expect(tree.text()).to.equal('-');
        server.release();
        await settle(() => tree.text() === 'one');
        expect(asked.length).to.be.above(0);
        expect(asked).not.to.include(undefined);
      });

      it('[RX4] while an own update waits for its answer, what it changed is rendered once', async () => {
        let renders = 0;
        const Options = () => {
          renders += 1;
          return h('i', null, stage.hooks.useSettings('a', ({ options }: Settings) => options)?.temperature);
        };
        const tree = stage.mount(within(h(Options)));
        const session = client.peek<Settings>('a');
        await settle(() => session.getSnapshot().settings);
        server.hold();
        stage.act(() => void session.update({ options: { temperature: 1 } }));
        expect(tree.text()).to.equal('1');
        const before = renders;
        stage.act(() => server.enter('a', 'somebody'));
        stage.act(() => server.say('a', 'hello'));
        expect(session.getSnapshot().pending).to.equal(1);
        expect(renders).to.equal(before);
      });

      it('[RX5] options, selectors and comparisons written inline subscribe once, and new objects do not render for ever', async () => {
        let subscriptions = 0;
        const session = client.peek('a');
        const subscribe = session.subscribe.bind(session);
        session.subscribe = (listener) => {
          subscriptions += 1;
          return subscribe(listener);
        };
        let renders = 0;
        const Model = () => {
          renders += 1;
          stage.hooks.useSession('a', { create: true, presence: {} });
          const state = stage.hooks.useSessionState(
            'a',
            ({ settings, revision }) => ({ settings, revision }),
            (a, b) => a.revision === b.revision,
          );
          const { of } = stage.hooks.useSettings('a', (settings: Settings) => ({ of: settings.model })) ?? { of: '-' };
          return h('i', null, of, state.revision);
        };
        const tree = stage.mount(within(h(Model)));
        await settle(() => tree.text() === 'one1');
        const afterMounting = subscriptions;
        for (let again = 0; again < 5; again += 1) tree.render(within(h(Model)));
        stage.act(() => server.change('a', { model: 'new' }));
        expect(tree.text()).to.equal('new2');
        expect(subscriptions).to.equal(afterMounting);
        expect(renders).to.be.below(20);
      });

      it('[RX6] components that show the same setting never show two values of it at once, whatever comes in between', async () => {
        const many = 12;
        const shown: string[] = [];
        let isDone = false;
        let show: (() => void) | undefined;
        const Slow = () => {
          const model = stage.hooks.useSettings('a', (settings: Settings) => settings.model);
          // Long enough that React interrupts the transition between two of them.
          const endsAt = performance.now() + 4;
          while (performance.now() < endsAt);
          return h('i', null, `${model} `);
        };
        const App = () => {
          const [isShown, setShown] = stage.React.useState(false);
          show = () => stage.React.startTransition(() => setShown(true));
          stage.React.useLayoutEffect(() => {
            shown.push(tree.text());
            isDone = isShown;
          });
          return isShown ? Array.from({ length: many }, (_, i) => h(Slow, { key: i })) : null;
        };
        const Keep = () => {
          stage.hooks.useSession('a');
          return null;
        };
        let tree = { text: () => '' };
        // act would render the transition in one go.
        await stage.live(async () => {
          tree = stage.mount(within(h(Keep), h(App)));
          await until(() => show && client.peek('a').getSnapshot().settings);
          show!();
          let changes = 0;
          while (!isDone) {
            await nextTurn();
            server.change('a', { model: `m${(changes += 1)}` });
          }
          expect(changes).to.be.above(1);
          server.change('a', { model: 'last' });
          await until(() => tree.text() === 'last '.repeat(many));
        });
        for (const text of shown) expect(new Set(text.trim().split(' ')).size, text).to.equal(1);
      });
    });

    describe('on a server', () => {
      const Everything = () => {
        const { useConnectionStatus, useMessages, usePresence, useSession, useSessionState, useSettings } = stage.hooks;
        useSession('a');
        const state = useSessionState('a', ({ status, revision }) => `${status}${revision}`);
        const settings = useSettings('a', ({ model }: Settings) => model);
        const [participants] = usePresence('a');
        const { messages, loading } = useMessages('a');
        const counts = `${participants.length}${messages.length}${String(loading)}`;
        return h('i', null, [state, settings ?? '-', counts, useConnectionStatus()].join(' '));
      };
      const initial = 'initial0 - 00true initial';

      it('[RX7] renderToString shows that nothing is known yet, sends nothing and starts no timer', () => {
        const timers = process.getActiveResourcesInfo().length;
        expect(stage.renderToString(within(h(Everything)))).to.equal(`<i>${initial}</i>`);
        expect(process.getActiveResourcesInfo()).to.have.length(timers);
        expect(client.status).to.equal('initial');
        expect(server.lines).to.equal(0);
      });

      it('[RX7] a page hydrates without a mismatch though its client knows more, and then shows it', async () => {
        const html = stage.renderToString(within(h(Everything)));
        const session = client.session('a');
        await session.ready();
        const mismatches: unknown[] = [];
        const tree = stage.hydrate(html, within(h(Everything)), mismatches);
        await settle(() => tree.text() === 'connected1 one 00false connected');
        expect(mismatches).to.deep.equal([]);
        expect(server.count('session:join')).to.equal(1);
        session.leave();
      });
    });

    describe('waiting below Suspense', () => {
      const Model = ({ id = 'a' }: { id?: string }) =>
        h(
          'i',
          null,
          stage.hooks.useSuspenseSettings(id, ({ model }: Settings) => model),
        );
      const suspended = (...children: ReactNode[]) =>
        within(h(stage.React.Suspense, { fallback: h('b', null, 'wait') }, ...children));

      it('[RX8] it shows the fallback until the settings are known, joins once, and stays joined', async () => {
        server.hold();
        const tree = stage.mount(suspended(h(Model), h(Model, { key: 2 })));
        await settle(() => server.count('session:join') === 1);
        expect(tree.text()).to.equal('wait');
        server.release();
        await settle(() => tree.text() === 'oneone');
        stage.act(() => server.change('a', { model: 'new' }));
        expect(tree.text()).to.equal('newnew');
        expect(server.asked.map(({ event }) => event)).to.deep.equal(['session:join']);
      });

      it('[RX8] it tells nobody of the connection while it renders', async () => {
        const Status = () => h('b', null, stage.hooks.useConnectionStatus());
        const tree = stage.mount(within(h(Status)));
        tree.render(within(h(Status), h(stage.React.Suspense, null, h(Model))));
        await settle(() => tree.text() === 'connectedone');
        // React complains of a component that is changed while another one renders: see afterEach.
        expect(stage.complaints).to.deep.equal([]);
      });

      it('[RX8] another id in a transition keeps what is shown until the other settings are known', async () => {
        let choose: ((id: string) => void) | undefined;
        const App = () => {
          const [id, setId] = stage.React.useState('a');
          choose = (other) => stage.React.startTransition(() => setId(other));
          return h(Model, { id });
        };
        const tree = stage.mount(suspended(h(App)));
        await settle(() => tree.text() === 'one');
        server.hold();
        stage.act(() => choose!('b'));
        await settle(() => server.count('session:join', 'b') === 1);
        expect(tree.text()).to.equal('one');
        server.release();
        await settle(() => tree.text() === 'two');
      });

      it('[RX8] a session that cannot be joined throws its error, and is joined anew when it is tried again later', async () => {
        class Boundary extends stage.React.Component<{ children: ReactNode }, { error?: Error }> {
          override state: { error?: Error } = {};
          static getDerivedStateFromError = (error: Error) => ({ error });
          override render() {
            const { error } = this.state;
            const again = () => this.setState({ error: undefined! });
            return error ? h('button', { onClick: again }, (error as { code?: string }).code) : this.props.children;
          }
        }
        const tree = stage.mount(h(Boundary, null, suspended(h(Model, { id: 'new' }))));
        await settle(() => tree.text() === 'SESSION_NOT_FOUND');
        server.create('new', { model: 'born' });
        await until(async () => {
          stage.act(() => tree.container.querySelector('button')?.click());
          await stage.actLater(() => nextTurn());
          return tree.text() === 'born';
        });
        expect(server.count('session:join', 'new')).to.equal(2);
        // React reports errors that a boundary takes.
        expect(stage.complaints.splice(0).join()).to.include('SESSION_NOT_FOUND');
      });

      it('[RX18] a client that stopped for good is thrown as often as it is tried, and is back after connect()', async () => {
        let isRefused = true;
        const stopped = createClient({
          transport: (url, line) => {
            const link = server.transport(url, line);
            const refuse = () =>
              queueMicrotask(() => line.closed(new ClientError('FORBIDDEN', { message: 'not you' })));
            return { ...link, open: () => (isRefused ? refuse() : link.open()) };
          },
        });
        let again: (() => void) | undefined;
        class Boundary extends stage.React.Component<{ children: ReactNode }, { error?: Error }> {
          override state: { error?: Error } = {};
          static getDerivedStateFromError = (error: Error) => ({ error });
          override render() {
            const { error } = this.state;
            again = () => this.setState({ error: undefined! });
            return error ? ((error as { code?: string }).code ?? error.message) : this.props.children;
          }
        }
        const wait = h(stage.React.Suspense, { fallback: 'wait' }, h(Model, { id: 'a' }));
        try {
          const tree = stage.mount(
            h(
              stage.hooks.AttuneProvider,
              { client: stopped },
              h(stage.React.StrictMode, null, h(Boundary, null, wait)),
            ),
          );
          for (let n = 0; n < 3; n += 1) {
            await settle(() => tree.text() === 'FORBIDDEN');
            stage.act(() => again!());
          }
          isRefused = false;
          // At once: what failed before says nothing about this attempt.
          stage.act(() => stopped.connect());
          stage.act(() => again!());
          expect(tree.text()).to.not.equal('FORBIDDEN');
          await settle(() => tree.text() === 'one');
          expect(server.count('session:join')).to.equal(1);
          expect(stage.complaints.splice(0).join()).to.include('not you');
        } finally {
          stage.clear();
          stopped.close();
        }
      });

      it('[RX19] while a connection that failed is tried again it shows the fallback', async () => {
        let isAway = true;
        const away = createClient({
          transport: (url, line) => {
            const link = server.transport(url, line);
            const fail = () => queueMicrotask(() => line.closed(new ClientError('OFFLINE', { retry: 'after-delay' })));
            return { ...link, open: () => (isAway ? fail() : link.open()) };
          },
        });
        try {
          away.connect();
          await until(() => away.error !== null);
          const wait = h(stage.React.Suspense, { fallback: 'wait' }, h(Model));
          const tree = stage.mount(h(stage.hooks.AttuneProvider, { client: away }, wait));
          expect(tree.text()).to.equal('wait');
          isAway = false;
          await stage.live(() => until(() => tree.text() === 'one'));
        } finally {
          stage.clear();
          away.close();
        }
      });

      it('[RX8] a server renders the fallback and joins nothing', () => {
        expect(stage.renderToString(suspended(h(Model)))).to.include('<b>wait</b>');
        expect(() => stage.renderToString(within(h(Model)))).to.throw('Suspense');
        expect(server.lines).to.equal(0);
      });
    });

    describe('what the others give', () => {
      it('[RX9] an update is seen at once, by the same function in each render, and taken back where it is refused', async () => {
        const updates = new Set<unknown>();
        let update: ((change: Partial<Settings>) => Promise<unknown>) | undefined;
        const { Model } = modelShower();
        const Writer = () => {
          update = stage.hooks.useUpdateSettings<Settings>('a');
          updates.add(update);
          const error = stage.hooks.useSessionState('a', (state) => state.error?.code);
          return h('b', null, error);
        };
        const tree = stage.mount(within(h(Model), h(Writer)));
        await settle(() => tree.text() === 'one');
        server.hold();
        stage.act(() => void update!({ model: 'mine' }));
        expect(tree.text()).to.equal('mine');
        server.refusal = 'INVALID_SETTINGS';
        server.release();
        await settle(() => tree.text() === 'oneINVALID_SETTINGS');
        // Nobody looked at the promise: an unhandled rejection would end this test.
        await nextTurn();
        server.refusal = undefined;
        await stage.actLater(() => update!({ model: 'taken' }));
        expect(tree.text()).to.equal('taken');
        expect(updates.size).to.equal(1);
      });

      it('[RX10] participants are the same list until somebody came, and one’s own state is sent', async () => {
        const lists = new Set<readonly Participant[]>();
        const setters = new Set<unknown>();
        let renders = 0;
        let showState: ((state: { typing: boolean }) => void) | undefined;
        const People = () => {
          renders += 1;
          const [participants, setPresence] = stage.hooks.usePresence('a');
          showState = setPresence;
          lists.add(participants);
          setters.add(setPresence);
          return h('i', null, participants.map(({ clientId }) => clientId).join());
        };
        const tree = stage.mount(within(h(People)));
        await settle(() => client.peek('a').getSnapshot().settings);
        stage.act(() => server.enter('a', 'ada'));
        expect(tree.text()).to.equal('ada');
        const before = renders;
        stage.act(() => server.change('a', { model: 'new' }));
        expect(renders).to.equal(before);
        stage.act(() => server.enter('a', 'bob'));
        expect(tree.text()).to.equal('ada,bob');
        stage.act(() => showState!({ typing: true }));
        const sent = server.asked.findLast(({ event }) => event === 'presence:update');
        expect(sent?.body['state']).to.deep.equal({ typing: true });
        expect(setters.size).to.equal(1);
        expect(lists.size).to.equal(3);
      });

      it('[RX11] messages are loaded when they are first shown, and live', async () => {
        let shown: Messages | undefined;
        let claimedNone = false;
        let renders = 0;
        const List = () => {
          renders += 1;
          shown = stage.hooks.useMessages('a');
          claimedNone ||= !shown.loading && shown.messages.length === 0;
          return h('i', null, shown.messages.map(({ content }) => content as string).join());
        };
        server.say('a', 'first');
        const { Model } = modelShower();
        const tree = stage.mount(within(h(Model)));
        await settle(() => tree.text() === 'one');
        expect(server.count('message:list')).to.equal(0);
        server.hold();
        tree.render(within(h(List)));
        expect(shown).to.include({ loading: true });
        server.release();
        await settle(() => tree.text() === 'first');
        expect(claimedNone).to.equal(false);
        const before = renders;
        stage.act(() => server.change('a', { model: 'new' }));
        expect(renders).to.equal(before);
        stage.act(() => server.say('a', 'second'));
        expect(tree.text()).to.equal('first,second');
        expect(shown).to.include({ hasOlder: false, loading: false, error: null });
        expect(shown!.messages).to.have.length(2);
        expect(server.count('message:list')).to.equal(1);
      });

      it('[RX11] older messages are loaded when they are asked for', async () => {
        let shown: Messages | undefined;
        const List = () => {
          shown = stage.hooks.useMessages('a');
          return h('i', null, shown.messages.length);
        };
        for (let n = 0; n < 60; n += 1) server.say('a', `message ${n}`);
        const tree = stage.mount(within(h(List)));
        await settle(() => tree.text() === '50');
        expect(shown!.hasOlder).to.equal(true);
        await stage.actLater(() => shown!.loadOlder());
        expect(tree.text()).to.equal('60');
        expect(shown!.hasOlder).to.equal(false);
        expect(shown!.messages[0]).to.include({ content: 'message 0' });
      });

      it('[RX12] the status of the connection is live, and asking for it connects nothing', async () => {
        const Status = () => h('b', null, stage.hooks.useConnectionStatus());
        const tree = stage.mount(within(h(Status)));
        expect(tree.text()).to.equal('initial');
        expect(server.lines).to.equal(0);
        stage.act(() => client.connect());
        await settle(() => tree.text() === 'connected');
        stage.act(() => client.disconnect());
        expect(tree.text()).to.equal('disconnected');
      });

      it('[RX13] a hook without a provider above says so', () => {
        const { Model } = modelShower();
        expect(() => stage.renderToString(h(Model))).to.throw('AttuneProvider');
      });
    });
  });
}
