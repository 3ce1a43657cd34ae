// The version of the wire protocol. Renaming, removing or changing the meaning of anything public needs a new one.

/** Protocol version a client names in its handshake (`auth.protocol`); the server speaks exactly this one. */
export const PROTOCOL_VERSION = 1;
