// '@attune/client/react': the hooks, for React 18 and 19. It adds nothing to what the client can do.
'use client';
export { AttuneProvider, useClient, type AttuneProviderProps } from './provider.js';
export {
  useConnectionStatus,
  useMessages,
  usePresence,
  useSession,
  useSessionState,
  useSettings,
  useUpdateSettings,
  type Messages,
} from './session-hooks.js';
export { useSuspenseSettings } from './suspense.js';
