// Which browsers may call: the origins of CORS_ORIGINS, and the server's own.
import type { IncomingMessage } from 'node:http';

/**
 * Makes the check of a request's `Origin`. Without one (bots, same-origin GET) it is allowed; two headers are not.
 * Hosts are compared, not schemes: behind a balancer with TLS the page's scheme is not the server's. With
 * `loopbackOnly` (auth is off) the server's own host must be one of this machine's names, for a foreign name may resolve
 * to this machine too.
 */
export function createOriginCheck(
  allowed: readonly string[],
  options: { loopbackOnly: boolean },
): (request: IncomingMessage) => boolean {
  const known = new Set(allowed);
  return (request) => {
    const given = request.headersDistinct['origin'];
    if (given === undefined) return true;
    const [origin, ...more] = given;
    if (origin === undefined || more.length > 0) return false;
    if (known.has(origin)) return true;
    if (!URL.canParse(origin)) return false;
    const { host, hostname } = new URL(origin);
    return host !== '' && host === request.headers.host && (!options.loopbackOnly || isThisMachine(hostname));
  };
}

function isThisMachine(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}
