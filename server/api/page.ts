// Serves the page at `/` and its assets, as the build left them, out of memory. Never reads a file for a request.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { extname } from 'node:path';
import express, { type Router } from 'express';

/** Where the bundle is: beside the compiled server, or in dist/ when the server runs from its sources. */
const bundles = ['../demo/page/', '../../dist/server/demo/page/'];

/** Content types of what the bundler writes; anything else in the folder is not served. */
const contentTypes: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};
/** Names of assets change with their content: a browser need never ask again. */
const CACHE_FOR_EVER = 'public, max-age=31536000, immutable';

interface Asset {
  readonly type: string;
  readonly body: Buffer;
  readonly gzipped: Buffer | undefined;
}

/** `GET /` (asked for anew each time) and `GET /assets/{name}` (kept for ever). A name that is unknown goes on to the next route. */
export function pageRoutes(): Router {
  const router = express.Router();
  const folder = bundles.map((path) => new URL(path, import.meta.url)).find((url) => existsSync(url));
  const page = folder ? readFileSync(new URL('index.html', folder), 'utf8') : notBuilt;
  const assets = folder ? readAssets(new URL('assets/', folder)) : new Map<string, Asset>();
  router.get('/', (_request, response) => void response.set('Cache-Control', 'no-cache').type('html').send(page));
  router.get('/assets/:name', (request, response, next) => {
    const asset = assets.get(request.params.name);
    if (!asset) return next();
    response.set({ 'Content-Type': asset.type, 'Cache-Control': CACHE_FOR_EVER });
    response.vary('Accept-Encoding');
    if (!asset.gzipped || !request.acceptsEncodings('gzip')) return void response.end(asset.body);
    response.set('Content-Encoding', 'gzip').end(asset.gzipped);
  });
  return router;
}

const notBuilt =
  '<!doctype html><title>Attune</title><p>Attune is running. Its page was not built: <code>npm run build</code>.';

function readAssets(folder: URL): Map<string, Asset> {
  const names = readdirSync(folder);
  const read = (name: string) => readFileSync(new URL(name, folder));
  return new Map(
    names.flatMap((name): [string, Asset][] => {
      const type = contentTypes[extname(name)];
      if (type === undefined) return [];
      return [
        [name, { type, body: read(name), gzipped: names.includes(`${name}.gz`) ? read(`${name}.gz`) : undefined }],
      ];
    }),
  );
}
