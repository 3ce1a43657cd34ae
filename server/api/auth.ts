// Who calls, and what they may do: tokens become principals, and one function decides.
import { errors, jwtVerify } from 'jose';
import { z } from 'zod';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { kinds, sessionIdPattern, type Kind } from '../../client-sdk/protocol/messages.js';

export const roles = ['viewer', 'member', 'editor', 'owner'] as const;
export type Role = (typeof roles)[number];

/** What can be done with a session, and the least role that may. */
export const actions = {
  read: 'viewer',
  writeOwn: 'member',
  presence: 'member',
  signal: 'member',
  writeSettings: 'editor',
  writeAny: 'editor',
  create: 'editor',
  clear: 'owner',
  delete: 'owner',
  import: 'owner',
} as const satisfies Record<string, Role>;
export type Action = keyof typeof actions;

/** Clocks may differ by so much, seconds. */
const CLOCK_TOLERANCE_S = 5;
/** Grants that one token may hold. */
const GRANTS_MAX = 1000;

export interface Principal {
  readonly userId: string;
  readonly name?: string | undefined;
  /** `undefined`: what the handshake says. */
  readonly kind?: Kind | undefined;
  /** `null`: auth is off and everything is allowed. */
  readonly grants: readonly { match: string; role: Role }[] | null;
  /** Milliseconds since 1970; Infinity without auth. */
  readonly expiresAt: number;
}

const claims = z.object({
  sub: z
    .string()
    .min(1)
    .max(256)
    .refine((text) => text.isWellFormed()),
  exp: z.number(),
  name: z.string().max(200).optional(),
  kind: z.enum(kinds).optional(),
  sessions: z
    .array(
      z.object({
        match: z.string().refine((match) => match === '*' || sessionIdPattern.test(match.replace(/\*$/, ''))),
        role: z.enum(roles),
      }),
    )
    .max(GRANTS_MAX),
});

export interface AuthOptions {
  /** HS256 key; without one auth is off. */
  secret: string | undefined;
  issuer: string | undefined;
  audience: string | undefined;
}

export type Authenticate = (token: string | undefined) => Promise<Principal>;

/** Makes the function that checks a token. It rejects with UNAUTHENTICATED, and never says more than needed of a token. */
export function createAuthenticate({ secret, issuer, audience }: AuthOptions): Authenticate {
  if (secret === undefined) {
    const everybody: Principal = { userId: 'anonymous', grants: null, expiresAt: Infinity };
    return async () => everybody;
  }
  const key = new TextEncoder().encode(secret);
  const options = {
    algorithms: ['HS256'],
    clockTolerance: CLOCK_TOLERANCE_S,
    requiredClaims: ['exp', 'sub'],
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience }),
  };
  return async (token) => {
    if (!token) throw new AttuneError('UNAUTHENTICATED', 'a token is needed');
    try {
      const { payload } = await jwtVerify(token, key, options);
      const { sub, exp, name, kind, sessions } = claims.parse(payload);
      return { userId: sub, name, kind, grants: sessions, expiresAt: (exp + CLOCK_TOLERANCE_S) * 1000 };
    } catch (error) {
      const why = error instanceof errors.JWTExpired ? 'the token has expired' : 'the token is not valid';
      throw new AttuneError('UNAUTHENTICATED', why, { cause: error });
    }
  };
}

/** The highest role of all grants that match; `null`: none does. */
export function roleOf(principal: Principal, sessionId: string): Role | null {
  if (principal.grants === null) return 'owner';
  let highest = -1;
  for (const { match, role } of principal.grants) {
    const matches = match.endsWith('*') ? sessionId.startsWith(match.slice(0, -1)) : match === sessionId;
    if (matches) highest = Math.max(highest, roles.indexOf(role));
  }
  return roles[highest] ?? null;
}

/** Whether a principal may do something with a session. */
export function can(principal: Principal, action: Action, sessionId: string): boolean {
  const role = roleOf(principal, sessionId);
  return role !== null && roles.indexOf(role) >= roles.indexOf(actions[action]);
}

/**
 * Throws FORBIDDEN where a principal may not, the same for sessions that exist and those that do not; and
 * UNAUTHENTICATED where its token has run out at `now` (milliseconds since 1970).
 */
export function demand(principal: Principal, action: Action, sessionId: string, now: number): void {
  if (now > principal.expiresAt) throw new AttuneError('UNAUTHENTICATED', 'the token has expired');
  if (!can(principal, action, sessionId)) throw new AttuneError('FORBIDDEN', 'this token does not allow that');
}
