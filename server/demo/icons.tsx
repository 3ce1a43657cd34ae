// The page's few icons, drawn here so that nothing is fetched. They are decoration: names stand beside them or on buttons.
import type { ReactNode } from 'react';

const shapes = {
  share: 'M12 15V4m0 0L8 8m4-4 4 4M5 12v6a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2v-6',
  newTab: 'M14 4h6v6m0-6-9 9M10 5H6a2 2 0 0 0-2 2v11a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2v-4',
  close: 'M6 6l12 12M18 6 6 18',
  send: 'M5 12h13m0 0-5-5m5 5-5 5',
  restore: 'M4 5v5h5M4.5 10A8 8 0 1 1 4 13',
  copy: 'M9 9h10v11H9zM5 15V4h10',
  chat: 'M4 5h16v11H9l-5 4z',
  tune: 'M4 8h9m5 0h2M4 16h2m5 0h9M15.5 5.5v5M8.5 13.5v5',
  clock: 'M12 7v5l3.5 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17',
  check: 'M5 12.5 10 17 19 7',
  bot: 'M6 9h12v9H6zM12 9V5M9.5 13v1.5M14.5 13v1.5',
  pen: 'M5 19l1-4L16 5l3 3L9 18z',
  chevron: 'M9 6l6 6-6 6',
} as const;

export type IconName = keyof typeof shapes;

export function Icon({ name }: { readonly name: IconName }): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={shapes[name]} />
    </svg>
  );
}

/** Attune's mark: two waves that meet. */
export function Mark(): ReactNode {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="9" />
      <path d="M6 16c3.3-8 6.7-8 10 0s6.7 8 10 0" />
      <path d="M6 16c3.3 8 6.7 8 10 0s6.7-8 10 0" className="mark-echo" />
    </svg>
  );
}
