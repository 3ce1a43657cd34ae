// All of the contract in one import.
export * from './version.js';
export * from './limits.js';
export * from './errors.js';
export * from './json.js';
export * from './settings.js';
export * from './messages.js';
