/** When an unanswered update is repeated. Pure. */

export interface ResendPolicy {
  readonly resendAfter: number;
  readonly resendMax: number;
}

/**
 * Doubles from `resendAfter` to `resendMax` (milliseconds), spread over the upper half by `spread` in [0, 1), so that
 * many devices that fell silent together are not asked together.
 */
export function resendDelay(attempts: number, policy: ResendPolicy, spread: number): number {
  const ceiling = Math.min(policy.resendMax, policy.resendAfter * 2 ** Math.min(attempts, 30));
  return Math.round(ceiling * (0.5 + spread / 2));
}

/** A spread that needs no randomness: from the device id, so that a model run repeats. */
export function spreadOf(device: string, attempts: number): number {
  let hash = 2166136261 ^ attempts;
  for (let i = 0; i < device.length; i += 1) hash = Math.imul(hash ^ device.charCodeAt(i), 16777619);
  return ((hash >>> 0) % 4096) / 4096;
}
