# The server's image: compiled in one stage, run in another with production dependencies only. Holds no Redis and no secret.

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY client-sdk/package.json client-sdk/
COPY docs/package.json docs/
COPY test/react18/package.json test/react18/
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.base.json ./
COPY scripts/build.mjs scripts/build-page.mjs scripts/
COPY client-sdk client-sdk
COPY server server
RUN npm run -s build && npm prune --omit=dev --ignore-scripts

FROM node:24-bookworm-slim
# Loopback of a container can be reached by nobody; beyond it the server asks for auth (AUTH_SECRET).
ENV NODE_ENV=production HOST=0.0.0.0 PORT=4100
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/package.json ./
COPY --from=build /app/dist dist
USER node
EXPOSE 4100
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# No npm in between: node gets SIGTERM itself and drains.
CMD ["node", "--enable-source-maps", "--max-semi-space-size=64", "dist/server/main.js"]
