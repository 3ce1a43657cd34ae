// One React of the two that the hooks are for, in a page of its own (jsdom), with the compiled hooks bound to it. It fakes
// nothing but the browser.
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { format } from 'node:util';
import { JSDOM } from 'jsdom';
import type { ReactNode } from 'react';
import type { Root } from 'react-dom/client';
import { projectDir } from './attune.js';

/** Major versions of React that the hooks are tested with. */
export const REACT_VERSIONS = [18, 19] as const;
export type ReactVersion = (typeof REACT_VERSIONS)[number];

/** A tree that was rendered into an element of the page. */
export interface Mounted {
  /** What it shows. */
  readonly text: () => string;
  readonly container: HTMLElement;
  render(node: ReactNode): void;
  unmount(): void;
}

/** A page, its React, and the hooks. */
export interface Stage {
  readonly React: typeof import('react');
  readonly hooks: typeof import('../../client-sdk/react/index.js');
  /** Renders into a new element, and returns when the effects have run. */
  mount(node: ReactNode): Mounted;
  /** Takes the element over that a server has rendered into the page; `mismatches` collects what React had to mend. */
  hydrate(html: string, node: ReactNode, mismatches: unknown[]): Mounted;
  /** What React complained of on the console; a test that expects a complaint takes it out. */
  readonly complaints: string[];
  /** renderToString where there is no page, as on a server. */
  renderToString(node: ReactNode): string;
  /** Runs what changes a store, and returns when React has rendered what follows. */
  act(work: () => void): void;
  /** As act, for what takes its time. */
  actLater(work: () => Promise<unknown>): Promise<void>;
  /** Meanwhile nothing is rendered by act: React does it in its own time, as in a page, and what it shows is polled. */
  live<T>(work: () => Promise<T>): Promise<T>;
  /** Unmounts what is mounted. */
  clear(): void;
  /** Takes the page away. */
  close(): void;
}

const GLOBALS = ['window', 'document', 'navigator', 'IS_REACT_ACT_ENVIRONMENT'] as const;

/** Loads React and the hooks in the page. One stage at a time: the page is global, as React wants it. */
export async function openStage(version: ReactVersion): Promise<Stage> {
  const packages = join(projectDir, version === 18 ? 'test/react18/node_modules' : 'node_modules');
  const dom = new JSDOM('<!doctype html><body></body>');
  const page = { window: dom.window, document: dom.window.document, navigator: dom.window.navigator };
  const restore = setGlobals({ ...page, IS_REACT_ACT_ENVIRONMENT: true });
  const complaints: string[] = [];
  const { error } = console;
  console.error = (...parts: unknown[]) => complaints.push(format(...parts));
  const folder = copyHooks(packages);
  // From the folder of the copy everything finds the React that is linked there.
  const load = createRequire(join(folder, 'react/index.js'));
  const React = load('react') as typeof import('react');
  const client = load('react-dom/client') as typeof import('react-dom/client');
  const server = load('react-dom/server') as typeof import('react-dom/server');
  const hooks = (await import(pathToFileURL(join(folder, 'react/index.js')).href)) as Stage['hooks'];
  if (!React.version.startsWith(`${version}.`)) throw new Error(`React ${version} was wanted, found ${React.version}`);

  let isLive = false;
  const act = (work: () => void) => (isLive ? work() : React.act(work));
  const roots = new Set<Root>();
  const mounted = (root: Root, container: HTMLElement): Mounted => {
    roots.add(root);
    return {
      container,
      text: () => container.textContent,
      render: (node) => act(() => root.render(node)),
      unmount() {
        roots.delete(root);
        act(() => root.unmount());
      },
    };
  };
  const element = (html = '') => {
    const container = dom.window.document.createElement('div');
    container.innerHTML = html;
    return dom.window.document.body.appendChild(container);
  };
  const clear = () => {
    for (const root of roots) act(() => root.unmount());
    roots.clear();
  };
  return {
    React,
    hooks,
    mount(node) {
      const container = element();
      const tree = mounted(client.createRoot(container), container);
      tree.render(node);
      return tree;
    },
    hydrate(html, node, mismatches) {
      const container = element(html);
      let root: Root | undefined;
      act(() => {
        root = client.hydrateRoot(container, node, { onRecoverableError: (error) => mismatches.push(error) });
      });
      return mounted(root!, container);
    },
    renderToString(node) {
      const putBack = setGlobals({ window: undefined, document: undefined, navigator: undefined });
      try {
        return server.renderToString(node);
      } finally {
        putBack();
      }
    },
    act,
    async actLater(work) {
      await React.act(async () => {
        await work();
      });
    },
    async live(work) {
      isLive = true;
      const restoreAct = setGlobals({ IS_REACT_ACT_ENVIRONMENT: false });
      try {
        return await work();
      } finally {
        clear();
        restoreAct();
        isLive = false;
      }
    },
    complaints,
    clear,
    close() {
      clear();
      console.error = error;
      dom.window.close();
      rmSync(folder, { recursive: true, force: true });
      restore();
    },
  };
}

/** A copy of the compiled hooks beside links to a React: Node looks for packages from where a file is. */
function copyHooks(packages: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'attune-hooks-'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  cpSync(join(projectDir, 'dist/client-sdk/react'), join(folder, 'react'), { recursive: true });
  // Only the hooks are there twice: the rest is that of the tests, whose errors are of the same class.
  const messages = pathToFileURL(join(projectDir, 'dist/client-sdk/live-messages.js')).href;
  writeFileSync(join(folder, 'live-messages.js'), `export * from '${messages}';`);
  for (const name of ['react', 'react-dom']) {
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(packages, name), link);
  }
  return folder;
}

/** Sets globals, or with undefined removes them; what is returned puts back what was there. */
function setGlobals(values: Partial<Record<(typeof GLOBALS)[number], unknown>>): () => void {
  const before = GLOBALS.filter((name) => name in values).map(
    (name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const,
  );
  for (const [name] of before) {
    Reflect.deleteProperty(globalThis, name);
    if (values[name] === undefined) continue;
    Object.defineProperty(globalThis, name, { value: values[name], configurable: true, writable: true });
  }
  return () => {
    for (const [name, descriptor] of before) {
      Reflect.deleteProperty(globalThis, name);
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
    }
  };
}
