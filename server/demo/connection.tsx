// How the page is connected: a light, a switch to go offline and come back, what waits to be sent, and how long the newest
// update took.
import type { ReactNode } from 'react';
import type { ConnectionStatus } from '../../client-sdk/index.js';
import { useClient, useConnectionStatus, useSessionState } from '../../client-sdk/react/index.js';
import { Announcer } from './announcer.js';
import { useLatency } from './latency.js';
import type { DemoBot } from './messages/demo-bot.js';
import { usePage } from './page-context.js';

const words: Record<ConnectionStatus, string> = {
  initial: 'Connecting',
  connecting: 'Connecting',
  connected: 'Live',
  reconnecting: 'Reconnecting',
  disconnected: 'Offline',
};

export function ConnectionLight({ bot }: { readonly bot: DemoBot }): ReactNode {
  const { sessionId } = usePage();
  const client = useClient();
  const status = useConnectionStatus();
  const pending = useSessionState(sessionId, (state) => state.pending);
  const latencyMs = useLatency();
  const isWanted = status !== 'disconnected';
  const toggle = () => {
    if (isWanted) client.disconnect();
    else client.connect();
    bot.setOnline(!isWanted);
  };
  return (
    <section className="connection" aria-label="Connection">
      <span className="facts">
        {pending > 0 ? (
          <span data-testid="pending">{pending === 1 ? '1 change waits' : `${pending} changes wait`}</span>
        ) : (
          latencyMs !== undefined && (
            <span title="From your action to the server's acknowledgement">
              <span className="facts-name">Last update </span>
              <span data-testid="latency">{shownMs(latencyMs)}</span>
            </span>
          )
        )}
      </span>
      <span className={`light is-${status}`}>
        <span className="lamp" aria-hidden="true" />
        <span data-testid="connection-status">{words[status]}</span>
      </span>
      <button
        type="button"
        role="switch"
        aria-checked={isWanted}
        className="switch"
        aria-label="Online"
        title={isWanted ? 'Go offline' : 'Go online'}
        onClick={toggle}
      >
        <span className="switch-track" aria-hidden="true" />
      </button>
      <Announcer text={status === 'initial' ? '' : `Connection: ${words[status]}`} />
    </section>
  );
}

function shownMs(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
