// A dialog above the page: the browser's own, which keeps the focus inside and gives it back. Its content is the caller's.
import { useId, useLayoutEffect, useRef, type ReactNode } from 'react';
import { Icon } from './icons.js';

interface ModalProps {
  readonly title: string;
  readonly close: () => void;
  readonly children: ReactNode;
}

export function Modal({ title, close, children }: ModalProps): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  // Closed while it still is in the document: only then the browser gives the focus back.
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      className="modal"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClick={(event) => {
        // The dialog's own area is its backdrop; its content lies in a box of its own.
        if (event.target === dialog.current) close();
      }}
    >
      <div className="modal-box">
        <div className="modal-head">
          <h2 id={id}>{title}</h2>
          <button type="button" className="quiet" aria-label="Close" onClick={close}>
            <Icon name="close" />
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}
