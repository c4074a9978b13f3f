/** What the gateway says that devices should hold now, as a goal for the devices themselves. */
import { selects } from '#schema/policy.ts';
import type { KeySetName, KeyVersionNumber, RolloutId, TrustVersion } from '#schema/ids.ts';
import type { KeySetView, RolloutStateName } from '#schema/api/views.ts';
import { activeOf, type Goal } from '../floor/observer.ts';
import type { OperatorClient } from '../operator/client.ts';

export interface Expectation {
  readonly trust: TrustVersion | undefined;
  readonly keySets: readonly KeySetView[];
  /** Rollouts that are on their way and not active yet. */
  readonly underWay: readonly RolloutId[];
}

const MOST_ROLLOUTS = 1_000;
const UNDER_WAY: ReadonlySet<RolloutStateName> = new Set(['approved', 'distributing', 'ready']);

export async function readExpectation(client: OperatorClient): Promise<Expectation> {
  const [trust, keySets, rollouts] = await Promise.all([
    client.call('trust.list', { query: {} }),
    client.call('keyset.list', {}),
    client.call('rollout.list', { query: { open: 'true', limit: MOST_ROLLOUTS } }),
  ]);
  const underWay = rollouts.items.filter(({ state }) => UNDER_WAY.has(state));
  return {
    trust: trust.latest ?? undefined,
    keySets: keySets.items,
    underWay: underWay.map(({ id }) => id),
  };
}

/** Whether two readings ask the same of every device. */
export function isSameExpectation(a: Expectation, b: Expectation): boolean {
  const digest = ({ trust, keySets, underWay }: Expectation): string =>
    JSON.stringify([
      trust,
      keySets.map(({ name, activeVersion, revision }) => [name, activeVersion, revision]),
      underWay,
    ]);
  return digest(a) === digest(b);
}

/** Connected, with the latest trust bundle and, of each key set meant for it, the version that is active. */
export function goalOf({ trust, keySets }: Expectation): Goal {
  return (device) => {
    if (device.phase !== 'connected' || device.trustVersion !== trust) return false;
    const { row } = device.plan;
    return keySets.every(
      ({ name, selector, activeVersion }) =>
        activeVersion === null || !selects(selector, row) || activeOf(device, name) === activeVersion,
    );
  };
}

/** Connected, and using this version of this key set. */
export function rotatedGoal(keySet: KeySetName, version: KeyVersionNumber): Goal {
  return (device) => device.phase === 'connected' && activeOf(device, keySet) === version;
}
