// The page's frame: header, and the three parts.
import { useState, type ReactNode } from 'react';
import { useSession } from '../../client-sdk/react/index.js';
import { CannotGoOn } from './cannot-go-on.js';
import { ConnectionLight } from './connection.js';
import { Icon, Mark, type IconName } from './icons.js';
import { Conversation } from './messages/conversation.js';
import type { DemoBot } from './messages/demo-bot.js';
import { usePage } from './page-context.js';
import { People } from './people.js';
import { SettingsPanel } from './settings/settings-panel.js';
import { Share } from './share.js';
import { Timeline } from './timeline/timeline.js';
import { Title } from './title.js';
import { useEnd } from './use-end.js';

type View = 'chat' | 'settings' | 'history';

const views: readonly { view: View; name: string; icon: IconName }[] = [
  { view: 'chat', name: 'Chat', icon: 'chat' },
  { view: 'settings', name: 'Settings', icon: 'tune' },
  { view: 'history', name: 'History', icon: 'clock' },
];

export function App({ bot }: { readonly bot: DemoBot }): ReactNode {
  const { sessionId, notice } = usePage();
  useSession(sessionId, { create: true });
  const [view, setView] = useState<View>('chat');
  const end = useEnd(sessionId);
  if (end) {
    return (
      <Frame>
        <main className="main">
          <CannotGoOn {...end} />
        </main>
      </Frame>
    );
  }
  const tools = (
    <>
      <Title />
      <People />
      <ConnectionLight bot={bot} />
      <Share />
    </>
  );
  return (
    <Frame tools={tools}>
      <Parts view={view} bot={bot} />
      <Views view={view} setView={setView} />
      <div className={notice === '' ? 'notice' : 'notice is-shown'} role="status">
        {notice}
      </div>
    </Frame>
  );
}

/** The page around whatever it shows. */
export function Frame({ tools, children }: { readonly tools?: ReactNode; readonly children: ReactNode }): ReactNode {
  return (
    <div className="page">
      <header className="top">
        <h1 className="brand">
          <Mark />
          <span className="brand-name">Attune</span>
        </h1>
        {tools}
      </header>
      {children}
    </div>
  );
}

/** On narrow screens: which part is shown. */
function Views({ view, setView }: { readonly view: View; readonly setView: (view: View) => void }): ReactNode {
  return (
    <nav className="views" aria-label="Parts of the page">
      {views.map(({ view: each, name, icon }) => (
        <button
          key={each}
          type="button"
          className={`view-${each}`}
          aria-current={view === each ? 'true' : undefined}
          onClick={() => setView(each)}
        >
          <Icon name={icon} />
          {name}
        </button>
      ))}
    </nav>
  );
}

function Parts({ view, bot }: { readonly view: View; readonly bot: DemoBot }): ReactNode {
  return (
    <main className={`main shows-${view}`}>
      <section className="part part-settings" aria-labelledby="settings-title">
        <h2 id="settings-title">Settings</h2>
        <SettingsPanel />
      </section>
      <section className="part part-chat" aria-labelledby="chat-title">
        <h2 id="chat-title" className="visually-hidden">
          Conversation
        </h2>
        <Conversation bot={bot} />
      </section>
      <section className="part part-history" aria-labelledby="history-title">
        <h2 id="history-title">History</h2>
        <Timeline />
      </section>
    </main>
  );
}
