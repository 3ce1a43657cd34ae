// HTTP calls that stream: one body up, one body down, with backpressure and a deadline on the server's silence.
// Nothing here knows what the bytes mean.
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { once } from 'node:events';
import type { Command } from 'commander';
import type { CliEnvironment } from './environment.js';
import { CliFailure, errorText, usageError } from './exit.js';

/** The server that a command talks to. */
export interface ServerAddress {
  readonly url: URL;
  readonly token: string | undefined;
}

/** How long the server may take no byte and send none while the tool waits for it, milliseconds. */
export const SERVER_SILENCE_MS = 120_000;
/** Bytes gathered before they are sent as one chunk. */
const SEND_BYTES = 64 * 1024;
/** The most that is read of an answer that should be short, bytes: a report with 1,000 refusals, or an error. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
/** What is shown of an error page that is not of this server, characters. */
const FOREIGN_TEXT_CHARS = 200;

/** Adds `--url` and `--token` to a command. */
export function addServerOptions(command: Command, environment: CliEnvironment): Command {
  return command
    .option('--url <url>', 'address of the server; also ATTUNE_URL', environment.url)
    .option('--token <token>', 'token where the server asks for one; also ATTUNE_TOKEN (which other users cannot see)');
}

/** The server of a command's options. Throws a usage error where address or token cannot be one. */
export function serverAddress(options: { url: string; token?: string }, environment: CliEnvironment): ServerAddress {
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw usageError(`"${options.url}" is not the http:// or https:// address of a server`);
  }
  url.search = '';
  url.hash = '';
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  const token = options.token || environment.token;
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
    throw usageError('the token has characters that no token has');
  return { url, token };
}

/** A body on its way to the server. */
export interface Upload {
  /** Sends bytes, and waits while the server does not take them. Throws a CliFailure once the server refused. */
  send(bytes: Buffer): Promise<void>;
  /** Ends the body and gives the server's answer as JSON. Throws a CliFailure for anything but a 2xx. */
  finish(): Promise<unknown>;
  /** Whether the server may have acted on the body: it was reached, and did not refuse the call (4xx). */
  mayHaveActed(): boolean;
  /** Lets go of the connection. Idempotent; needed after `finish` too. */
  close(): void;
}

/** Starts a POST to `path` (relative to the server's address, query included) with a streamed body. */
export function startUpload(server: ServerAddress, path: string, contentType: string): Upload {
  const call = startCall(server, 'POST', path, { 'content-type': contentType, accept: 'application/json' });
  let parts: Buffer[] = [];
  let size = 0;
  let early: CliFailure | undefined;
  let ended = false;
  let reached = false;
  call.request.once('socket', (socket) => socket.once('connect', () => (reached = true)));
  // An answer before the end of the body is a refusal (or a server that does not read): no more is sent.
  const answer = call.response
    .then((response) => {
      if (isRefusal(response)) reached = false;
      if (!ended) early = new CliFailure(`the server at ${server.url.origin} answered before it had read everything`);
      return readAnswer(server, response);
    })
    .catch((error: unknown) => {
      early = failure(server, error);
      throw early;
    });
  answer.catch(() => undefined);

  const flush = async (): Promise<void> => {
    const bytes = Buffer.concat(parts);
    parts = [];
    size = 0;
    if (early) throw await settled(answer, early);
    if (!call.request.write(bytes)) {
      const free = once(call.request, 'drain').catch(() => undefined);
      await withinSilence(server, Promise.race([free, answer]));
    }
    if (early) throw await settled(answer, early);
  };
  return {
    async send(bytes) {
      parts.push(bytes);
      size += bytes.length;
      if (size >= SEND_BYTES) await flush();
    },
    async finish() {
      if (size > 0) await flush();
      ended = true;
      call.request.end();
      return withinSilence(server, answer);
    },
    mayHaveActed: () => reached,
    close: call.close,
  };
}

/**
 * The body of a GET of `path`, chunk by chunk; the next chunk is asked for only when the one before was dealt with.
 * Throws a CliFailure for anything but a 200, and when the body breaks off.
 */
export async function* download(server: ServerAddress, path: string, accept: string): AsyncGenerator<Buffer> {
  const call = startCall(server, 'GET', path, { accept });
  call.request.end();
  try {
    const response = await withinSilence(server, call.response);
    if (response.statusCode !== 200) await readAnswer(server, response);
    const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    for (;;) {
      const next = await withinSilence(server, chunks.next());
      if (next.done) return;
      yield next.value;
    }
  } catch (error) {
    throw failure(server, error);
  } finally {
    call.close();
  }
}

interface Call {
  request: ClientRequest;
  response: Promise<IncomingMessage>;
  close: () => void;
}

function startCall(server: ServerAddress, method: string, path: string, headers: Record<string, string>): Call {
  const secure = server.url.protocol === 'https:';
  // Kept alive, so that a server that refuses early lets its answer be read before the connection goes.
  const agent = secure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  const authorization = server.token === undefined ? {} : { authorization: `Bearer ${server.token}` };
  const request = (secure ? httpsRequest : httpRequest)(new URL(path, server.url), {
    method,
    agent,
    headers: { ...headers, ...authorization },
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    // Stays for good: an error after the response belongs to the response, and must not end the process.
    request.on('error', reject);
  });
  response.catch(() => undefined);
  return {
    request,
    response,
    close() {
      request.destroy();
      agent.destroy();
    },
  };
}

function isRefusal(response: IncomingMessage): boolean {
  const status = response.statusCode ?? 0;
  return status >= 400 && status < 500;
}

/** The JSON of a 2xx; a CliFailure that says what went wrong for anything else. */
async function readAnswer(server: ServerAddress, response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > ANSWER_BYTES_MAX) throw new CliFailure(`the server at ${server.url.origin} answered with too much`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  const status = response.statusCode ?? 0;
  const body = parsed(text);
  if (status >= 200 && status < 300) {
    if (body === undefined)
      throw new CliFailure(`the server at ${server.url.origin} answered with no JSON; is it Attune?`);
    return body;
  }
  throw new CliFailure(`the server at ${server.url.origin} answered ${status}: ${refusalText(response, body, text)}`);
}

function refusalText(response: IncomingMessage, body: unknown, text: string): string {
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  if (typeof problem['code'] === 'string') {
    const detail = problem['detail'] ?? problem['message'] ?? problem['title'];
    const request = typeof problem['requestId'] === 'string' ? ` (request ${problem['requestId']})` : '';
    return `${problem['code']}${typeof detail === 'string' ? `, ${detail}` : ''}${request}`;
  }
  if (response.headers.location) return `it points to ${response.headers.location}; give that address with --url`;
  return text.trim().slice(0, FOREIGN_TEXT_CHARS) || (response.statusMessage ?? 'nothing');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `early` once the whole refusal was read, so that its text is the server's own. */
async function settled(answer: Promise<unknown>, early: CliFailure): Promise<unknown> {
  return answer.then(
    () => early,
    (error: unknown) => error,
  );
}

async function withinSilence<T>(server: ServerAddress, wait: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const seconds = SERVER_SILENCE_MS / 1000;
      reject(new CliFailure(`the server at ${server.url.origin} has been silent for ${seconds} s`));
    }, SERVER_SILENCE_MS);
  });
  try {
    return await Promise.race([wait, silence]);
  } finally {
    clearTimeout(timer);
  }
}

function failure(server: ServerAddress, error: unknown): CliFailure {
  if (error instanceof CliFailure) return error;
  const code = (error as NodeJS.ErrnoException).code;
  const where = server.url.origin;
  if (code === 'ECONNREFUSED')
    return new CliFailure(`no server answers at ${where} (connection refused)`, undefined, error);
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new CliFailure(`the server at ${where} broke off the connection`, undefined, error);
  }
  return new CliFailure(`cannot reach the server at ${where}: ${errorText(error)}`, undefined, error);
}
