// Ways to bring others into the session: another tab, the link, and its QR code, which is drawn here.
import qrcode from 'qrcode-generator';
import { useMemo, useState, type ReactNode } from 'react';
import { Icon } from './icons.js';
import { Modal } from './modal.js';
import { usePage } from './page-context.js';
import { isLocalAddress, shareAddress } from './session-address.js';

/** Light modules around a code that readers need. */
const QUIET_MODULES = 4;

export function Share(): ReactNode {
  const { sessionId } = usePage();
  const [isOpen, setOpen] = useState(false);
  return (
    <div className="share">
      <a className="button" href={shareAddress(sessionId)} target="_blank" rel="noopener" title="Open another tab">
        <Icon name="newTab" />
        <span className="wide-only">Open another tab</span>
        <span className="visually-hidden narrow-name">Open another tab</span>
      </a>
      <button type="button" className="button" onClick={() => setOpen(true)}>
        <Icon name="share" />
        Share
      </button>
      {isOpen && <ShareDialog address={shareAddress(sessionId)} close={() => setOpen(false)} />}
    </div>
  );
}

function ShareDialog({ address, close }: { readonly address: string; readonly close: () => void }): ReactNode {
  const { notify } = usePage();
  const [isCopied, setCopied] = useState(false);
  const copy = () => {
    navigator.clipboard.writeText(address).then(
      () => setCopied(true),
      () => notify('The link could not be copied: select it and copy it by hand.'),
    );
  };
  return (
    <Modal title="Share this session" close={close}>
      <p>Whoever opens this link is in the session at once, with the same settings.</p>
      <div className="share-link">
        <input
          className="input"
          aria-label="Link to this session"
          readOnly
          value={address}
          onFocus={(event) => event.target.select()}
        />
        <button type="button" className="primary" onClick={copy}>
          <Icon name={isCopied ? 'check' : 'copy'} />
          <span aria-live="polite">{isCopied ? 'Copied' : 'Copy'}</span>
        </button>
      </div>
      <QrCode text={address} />
      {isLocalAddress(address) && (
        <p className="note">This address leads to your own machine: it opens in other browsers here, not on a phone.</p>
      )}
    </Modal>
  );
}

function QrCode({ text }: { readonly text: string }): ReactNode {
  const { size, path } = useMemo(() => qrPath(text), [text]);
  return (
    <svg
      className="qr"
      role="img"
      aria-label="QR code of the link"
      viewBox={`${-QUIET_MODULES} ${-QUIET_MODULES} ${size + 2 * QUIET_MODULES} ${size + 2 * QUIET_MODULES}`}
      shapeRendering="crispEdges"
    >
      <path d={path} />
    </svg>
  );
}

function qrPath(text: string): { size: number; path: string } {
  const code = qrcode(0, 'M');
  code.addData(text);
  code.make();
  const size = code.getModuleCount();
  const modules = Array.from({ length: size * size }, (_, index) => [index % size, Math.floor(index / size)] as const);
  const path = modules.filter(([x, y]) => code.isDark(y, x)).map(([x, y]) => `M${x} ${y}h1v1h-1z`);
  return { size, path: path.join('') };
}
