// Starts the page: who, which session, which client, and the form's fields, which the server's schema gives. Draws the rest.
import { StrictMode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { createClient, type JsonObject } from '../../client-sdk/index.js';
import { AttuneProvider } from '../../client-sdk/react/index.js';
import { sharedTabs } from '../../client-sdk/tabs.js';
import { App, Frame } from './app.js';
import { NoSuchSession } from './cannot-go-on.js';
import { keptPerson, keptToken, tabOutbox } from './kept.js';
import { createDemoBot } from './messages/demo-bot.js';
import { PageProvider } from './page-context.js';
import { clientIdOf } from './person.js';
import { randomName, sessionInAddress } from './session-address.js';
import { formOf, type FieldGroup } from './settings/form-model.js';

/** Between two attempts to read the schema. */
const RETRY_MS = 2000;

/** The form of the settings; without an answer it is asked for again, and the page waits. */
async function readForm(): Promise<FieldGroup[]> {
  for (;;) {
    try {
      const answer = await fetch('/v1/settings-schema');
      if (answer.ok) return formOf((await answer.json()) as JsonObject);
    } catch {
      // The server is away; it comes back.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Shows a session: at once, and with its form when that is known. */
async function open(root: Root, sessionId: string): Promise<void> {
  const person = keptPerson();
  const token = keptToken();
  const storage = tabOutbox();
  const client = createClient({
    clientId: clientIdOf(person, randomName(8)),
    // The tabs of this browser share one WebSocket, each with its own token, switch and place among the people.
    transport: sharedTabs({ key: 'attune-demo' }),
    ...(token !== undefined && { getToken: () => token }),
    ...(storage && { storage }),
  });
  const bot = createDemoBot(sessionId, token);
  // Before any component asks for it, for the first one says how it is joined.
  client.session(sessionId, { create: true, presence: { ...person } });
  const show = (groups: readonly FieldGroup[]) =>
    root.render(
      <StrictMode>
        <AttuneProvider client={client}>
          <PageProvider sessionId={sessionId} groups={groups} firstMe={person}>
            <App bot={bot} />
          </PageProvider>
        </AttuneProvider>
      </StrictMode>,
    );
  show([]);
  show(await readForm());
}

const place = document.getElementById('page');
if (!place) throw new Error('index.html has no place for the page');
const root = createRoot(place);
const asked = sessionInAddress();
if ('id' in asked) await open(root, asked.id);
else {
  root.render(
    <Frame>
      <main className="main">
        <NoSuchSession name={asked.malformed} />
      </main>
    </Frame>,
  );
}
