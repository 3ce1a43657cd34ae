// The hooks in a page against a real server, in both Reacts: what others change is shown, and what the page changes is seen
// by others, also after it was offline.
import { expect } from 'chai';
import { createClient, type AttuneClient, type Session } from '../../client-sdk/index.js';
import { equalJson } from '../../client-sdk/protocol/json.js';
import { startAttune, type Attune } from '../support/attune.js';
import { openStage, REACT_VERSIONS, type Stage } from '../support/react.js';
import { until } from '../support/until.js';

interface Settings {
  model?: string;
}

for (const version of REACT_VERSIONS) {
  describe(`React ${version} and a server`, () => {
    const id = `react-${version}`;
    let server: Attune;
    let stage: Stage;
    let page: AttuneClient;
    let other: AttuneClient;
    let theirs: Session<Settings>;

    before(async () => {
      stage = await openStage(version);
      server = await startAttune();
    });
    beforeEach(async () => {
      page = createClient({ url: server.url });
      other = createClient({ url: server.url });
      theirs = other.session<Settings>(id, { create: true });
      await theirs.ready();
      await theirs.update({ model: 'first' });
    });
    afterEach(() => {
      stage.clear();
      page.close();
      other.close();
      expect(stage.complaints.splice(0)).to.deep.equal([]);
    });
    after(async () => {
      await server.destroy();
      stage.close();
    });

    const shows = (text: () => string, wanted: string) =>
      until(() => text() === wanted, { what: `the page to show ${wanted}` });

    /** Draws the session in StrictMode; gives what it shows, and the function that changes the settings. */
    function openPage() {
      const { React, hooks } = stage;
      const h = React.createElement;
      const drawn: { update?: Session<Settings>['update'] } = {};
      const Model = () =>
        h(
          'i',
          null,
          hooks.useSuspenseSettings(id, ({ model }: Settings) => model),
        );
      const Chat = () => {
        drawn.update = hooks.useUpdateSettings<Settings>(id);
        const { messages } = hooks.useMessages(id);
        const pending = hooks.useSessionState(id, (state) => state.pending);
        return h(
          'p',
          null,
          ` ${hooks.useConnectionStatus()} ${pending} ${messages.map(({ content }) => content as string).join()}`,
        );
      };
      const tree = stage.mount(
        h(
          React.StrictMode,
          null,
          h(hooks.AttuneProvider, { client: page }, h(React.Suspense, { fallback: 'wait' }, h(Model)), h(Chat)),
        ),
      );
      return { drawn, text: tree.text };
    }

    it('[RX14] a page shows what others change, and others see what it changes', () =>
      stage.live(async () => {
        const { drawn, text } = openPage();
        await shows(text, 'first connected 0 ');
        await theirs.update({ model: 'theirs' });
        await shows(text, 'theirs connected 0 ');
        await theirs.addMessage({ role: 'user', content: 'hello' });
        await shows(text, 'theirs connected 0 hello');
        await drawn.update!({ model: 'ours' });
        await shows(text, 'ours connected 0 hello');
        await until(() => theirs.getSnapshot().settings?.model === 'ours');
        await theirs.clear();
        await shows(text, 'ours connected 0 ');
      }));

    it('[RX14] a page shows who is there, and the others see what it shows of itself', () =>
      stage.live(async () => {
        const { React, hooks } = stage;
        const h = React.createElement;
        const People = () => {
          const [participants, setPresence] = hooks.usePresence(id);
          const { clientId } = hooks.useClient();
          React.useEffect(() => setPresence({ editing: 'model' }), [setPresence]);
          const others = participants.filter((participant) => participant.clientId !== clientId);
          return h('i', null, others.map(({ state }) => JSON.stringify(state)).join());
        };
        const { text } = stage.mount(h(hooks.AttuneProvider, { client: page }, h(People)));
        theirs.setPresence({ typing: true });
        await shows(text, '{"typing":true}');
        await until(() =>
          theirs.getSnapshot().participants.some(({ state }) => equalJson(state, { editing: 'model' })),
        );
      }));

    it('[RX14] what a page changes while it is offline is shown at once and reaches the others later', () =>
      stage.live(async () => {
        const { drawn, text } = openPage();
        await shows(text, 'first connected 0 ');
        page.disconnect();
        await shows(text, 'first disconnected 0 ');
        void drawn.update!({ model: 'offline' });
        await shows(text, 'offline disconnected 1 ');
        expect(theirs.getSnapshot().settings?.model).to.equal('first');
        page.connect();
        await shows(text, 'offline connected 0 ');
        await until(() => theirs.getSnapshot().settings?.model === 'offline');
      }));
  });
}
