/** Every view of the operator API: what its routes answer. */
export * from './views/alerts.ts';
export * from './views/authorities.ts';
export * from './views/common.ts';
export * from './views/devices.ts';
export * from './views/gateway.ts';
export * from './views/governance.ts';
export * from './views/keys.ts';
export * from './views/rollouts.ts';
export * from './problem.ts';
