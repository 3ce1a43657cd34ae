// One setting as a field has it: its value (own changes at once), what is wrong with the newest attempt, and how far it has
// come. It decides when a change is sent; what may be sent, field-check.ts knows and in the end the server.
import { useCallback, useEffect, useRef, useState } from 'react';
import { ClientError, type Json, type JsonObject, type Session } from '../../../client-sdk/index.js';
import { useConnectionStatus, useSession, useSettings } from '../../../client-sdk/react/index.js';
import { equalJson, isJsonObject } from '../../../client-sdk/protocol/json.js';
import { measured } from '../latency.js';
import { usePage } from '../page-context.js';
import { problemWith } from './field-check.js';
import { valueAt, type Field } from './form-model.js';

/** `waiting`: made offline, sent when there is a connection again. */
export type Progress = 'idle' | 'saving' | 'waiting' | 'saved';

export interface Setting {
  readonly value: Json | undefined;
  readonly progress: Progress;
  /** Why the newest attempt was not taken, as a sentence. */
  readonly problem: string | undefined;
  /** Sends a value (undefined removes the setting) unless it cannot be taken. */
  readonly write: (value: Json | undefined) => void;
  /** As `write` for values on the way to another: at most a few each second, none while offline. End with `write`. */
  readonly writeWhileMoving: (value: Json) => void;
  /** Says what is wrong with what is typed; undefined: nothing. */
  readonly setProblem: (problem: string | undefined) => void;
}

/** Between two values of a slider that is moved. */
const MOVING_MS = 60;
/** How long a field says that it was saved. */
const SAVED_MS = 1800;

export function useSetting(field: Field): Setting {
  const { sessionId } = usePage();
  const session = useSession(sessionId);
  const isConnected = useConnectionStatus() === 'connected';
  const value = useSettings(sessionId, (settings: JsonObject) => valueAt(settings, field.keys), sameJson);
  const [problem, setProblem] = useState<string>();
  const [progress, track] = useProgress(isConnected);
  const movedAtMs = useRef(0);
  const newest = useRef(0);

  const write = useCallback(
    (next: Json | undefined) => {
      const found = next === undefined ? undefined : problemWith(field, next);
      setProblem(found);
      newest.current += 1;
      if (found !== undefined || sameJson(next, valueAt(session.getSnapshot().settings, field.keys))) return;
      const attempt = newest.current;
      const update = measured(isConnected, () => send(session, field, next));
      track(update);
      update.catch((error: unknown) => {
        // What was tried since is what the user looks at.
        if (attempt === newest.current) setProblem(reasonOf(error, field));
      });
    },
    [field, session, isConnected, track],
  );
  const writeWhileMoving = useCallback(
    (next: Json) => {
      const nowMs = performance.now();
      if (!isConnected || nowMs - movedAtMs.current < MOVING_MS) return;
      movedAtMs.current = nowMs;
      write(next);
    },
    [write, isConnected],
  );
  return { value, progress, problem, write, writeWhileMoving, setProblem };
}

/** Follows writes from sending to acknowledgement. */
function useProgress(isConnected: boolean): [Progress, (write: Promise<unknown>) => void] {
  const [state, setState] = useState<'idle' | 'sent' | 'saved'>('idle');
  const open = useRef(0);
  const track = useCallback((write: Promise<unknown>) => {
    open.current += 1;
    setState('sent');
    const done = (next: 'idle' | 'saved') => {
      open.current -= 1;
      if (open.current === 0) setState(next);
    };
    write.then(
      () => done('saved'),
      () => done('idle'),
    );
  }, []);
  useEffect(() => {
    if (state !== 'saved') return;
    const timer = setTimeout(() => setState('idle'), SAVED_MS);
    return () => clearTimeout(timer);
  }, [state]);
  return [state === 'sent' ? (isConnected ? 'saving' : 'waiting') : state, track];
}

function send(session: Session, { keys, path }: Field, value: Json | undefined): Promise<unknown> {
  const parents = keys.slice(0, -1);
  const hasParent = isJsonObject(valueAt(session.getSnapshot().settings, parents));
  // A merge would leave members of the object before where the new one lacks them.
  if (isJsonObject(value) && hasParent) return session.patch([{ op: 'add', path, value }]);
  return session.update(keys.reduceRight<Json>((inner, key) => ({ [key]: inner }), value ?? null) as JsonObject);
}

/** An error in the words of the place it is about, or its own. */
function reasonOf(error: unknown, { path }: Field): string {
  if (!(error instanceof ClientError)) return 'This could not be saved.';
  const issues = (error.code === 'INVALID_SETTINGS' && issuesOf(error)) || [];
  const here = issues.find((issue) => issue.path === path || issue.path.startsWith(`${path}/`));
  if (here) return `Not taken: ${here.message}.`;
  const [elsewhere] = issues;
  return elsewhere ? `Not taken: ${elsewhere.path} ${elsewhere.message}.` : `Not taken: ${error.message}.`;
}

function issuesOf({ details = {} }: ClientError): { path: string; message: string }[] {
  const { issues } = details;
  return Array.isArray(issues) ? (issues as { path: string; message: string }[]) : [];
}

function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalJson(a, b);
}
