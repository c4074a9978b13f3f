/** `apply`: the fleet policy as code. The difference is computed first, shown, approved, and then applied as a whole. */
import { createHash } from 'node:crypto';
import { parse as parseYaml } from 'yaml';
import type { KeyStore } from '#pki/keystore/port.ts';
import { CroupierError } from '#schema/errors.ts';
import { KeySetName, KeyVersionNumber, type Realm } from '#schema/ids.ts';
import { durationText, parseWith } from '#schema/parse.ts';
import { Policy, type KeySetPolicy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { prepareWorkingKey } from '#gateway/keys/working-key.ts';
import type { KeySetChange, PolicyRecord } from '#gateway/ports/store/governance.ts';
import type { KeySetRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { checkRolloutPolicy } from '#gateway/rollout/check-policy.ts';
import type { Command } from './command.ts';

/** YAML to a policy. Errors: `config.invalid`, naming the key. */
export function parsePolicy(document: string): Policy {
  let value: unknown;
  try {
    value = parseYaml(document);
  } catch (error) {
    throw new CroupierError(
      'config.invalid',
      `the policy is not YAML: ${error instanceof Error ? error.message.split('\n')[0] : ''}`,
      { cause: error },
    );
  }
  const policy = parseWith(Policy, value, 'config.invalid', 'policy');
  for (const [name, keySet] of Object.entries(policy.keySets)) {
    const named = keySet.selector.class ?? [];
    const unknown = named.find((entry) => policy.classes[entry] === undefined);
    if (unknown !== undefined)
      throw new CroupierError(
        'config.invalid',
        `policy: keySets.${name}.selector names the class ${unknown}, which the policy does not have`,
      );
    const deaf = named.find((entry) => policy.classes[entry]?.keyTypes.includes('Ed25519') === true);
    if (deaf !== undefined)
      throw new CroupierError(
        'config.invalid',
        `policy: keySets.${name} reaches class ${deaf}, whose Ed25519 keys cannot receive keys`,
      );
  }
  checkRolloutPolicy(policy);
  return policy;
}

export const policyHash = (document: string): string => createHash('sha256').update(document, 'utf8').digest('hex');

/** Keys of the policy whose numbers are milliseconds. */
const DURATIONS: ReadonlySet<string> = new Set([
  'validity',
  'grace',
  'cryptoperiod',
  'lead',
  'repeatWindow',
  'parkedRetry',
  'updateValidity',
  'resendAfter',
  'resendMax',
  'soak',
  'timeout',
  'per',
  'after',
  'duration',
]);

/** JSON of a value that stands under `key`, durations as people write them. */
function shown(key: string, value: unknown): string {
  const asWritten = (name: string, member: unknown): unknown =>
    typeof member === 'number' && DURATIONS.has(name) ? durationText(member) : member;
  const written = asWritten(key, value);
  return typeof value === 'number' ? String(written) : JSON.stringify(written, asWritten);
}

/** Lines that say what changes, `+`, `-` or `~` first, durations as people write them; empty when nothing does. Pure. */
export function diffPolicies(before: Policy | undefined, after: Policy): readonly string[] {
  const lines: string[] = [];
  const compare = (path: string, key: string, old: unknown, next: unknown): void => {
    if (JSON.stringify(old) === JSON.stringify(next)) return;
    if (isObject(old) && isObject(next)) {
      for (const name of new Set([...Object.keys(old), ...Object.keys(next)]))
        compare(path === '' ? name : `${path}.${name}`, name, old[name], next[name]);
    } else if (old === undefined) lines.push(`+ ${path}: ${shown(key, next)}`);
    else if (next === undefined) lines.push(`- ${path}`);
    else lines.push(`~ ${path}: ${shown(key, old)} -> ${shown(key, next)}`);
  };
  compare('', '', before ?? {}, after);
  return lines;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a key set's values depend on cannot change under them. Errors: `config.invalid`. */
function requireSame(name: string, current: KeySetRecord, wanted: KeySetPolicy): void {
  for (const field of ['algorithm', 'use', 'scope'] as const) {
    if (current[field] !== wanted[field]) {
      throw new CroupierError(
        'config.invalid',
        `policy: keySets.${name}.${field} is ${current[field]} and cannot become ${wanted[field]}; make a new key set`,
      );
    }
  }
}

export interface PolicyCommandPorts {
  readonly realm: Realm;
  readonly store: Store;
  readonly keyStore: KeyStore;
  readonly clock: Clock;
  readonly onApplied: (applied: PolicyRecord) => void;
}

export interface PolicyPlan {
  readonly policy: Policy;
  readonly changes: readonly string[];
  readonly fresh: readonly { readonly name: KeySetName; readonly keySet: KeySetPolicy }[];
  readonly kept: readonly { readonly name: KeySetName; readonly keySet: KeySetPolicy }[];
}

/** What applying the document would do. Errors: `config.invalid`. */
export async function planPolicy(store: Store, document: string): Promise<PolicyPlan> {
  const policy = parsePolicy(document);
  const before = await store.currentPolicy();
  const existing = new Map((await store.keySets()).map((keySet) => [keySet.name, keySet]));
  const fresh: { name: KeySetName; keySet: KeySetPolicy }[] = [];
  const kept: { name: KeySetName; keySet: KeySetPolicy }[] = [];
  for (const [key, keySet] of Object.entries(policy.keySets)) {
    const name = KeySetName.parse(key);
    const current = existing.get(name);
    if (current === undefined) fresh.push({ name, keySet });
    else {
      requireSame(name, current, keySet);
      kept.push({ name, keySet });
    }
    existing.delete(name);
  }
  const [gone] = existing.keys();
  if (gone !== undefined)
    throw new CroupierError(
      'config.invalid',
      `policy: key set ${gone} is missing; devices hold its keys, so it cannot be dropped`,
    );
  return { policy, changes: diffPolicies(before?.policy, policy), fresh, kept };
}

export function policyApplyCommand(ports: PolicyCommandPorts): Command<'policy.apply'> {
  const { store, keyStore, clock, realm } = ports;
  const requireCurrent = async (replaces: string | null): Promise<void> => {
    const current = await store.currentPolicy();
    if ((current?.sha256 ?? null) !== replaces)
      throw new CroupierError(
        'approval.hash-mismatch',
        'the policy was changed in between; look at the difference again',
      );
  };
  return {
    summary: ({ document }) => `apply policy ${policyHash(document).slice(0, 12)}`,
    check: async ({ document, replaces }) => {
      await planPolicy(store, document);
      await requireCurrent(replaces);
    },
    execute: async ({ document, replaces }, authority) => {
      const plan = await planPolicy(store, document);
      await requireCurrent(replaces);
      const now = clock.now();
      const changes: KeySetChange[] = [];
      const definition = (name: KeySetName, keySet: KeySetPolicy): KeySetChange['keySet'] => ({
        name,
        algorithm: keySet.algorithm,
        use: keySet.use,
        scope: keySet.scope,
        selector: keySet.selector,
        cryptoperiodMs: keySet.cryptoperiod,
      });
      for (const { name, keySet } of plan.kept) changes.push({ keySet: definition(name, keySet), first: undefined });
      // One of this name may have been begun and forgotten: what was restored does not know it.
      const firstNumber = ((await store.restoration())?.numbersUpTo ?? 0) + 1;
      for (const { name, keySet } of plan.fresh) {
        const version = KeyVersionNumber.parse(firstNumber);
        const prepared = await prepareWorkingKey(keyStore, realm, { name, algorithm: keySet.algorithm }, version);
        changes.push({
          keySet: definition(name, keySet),
          first: {
            keySet: name,
            version,
            state: 'active',
            retiredAt: undefined,
            ...prepared,
            createdAt: now,
            activatedAt: now,
            deactivatedAt: undefined,
            compromisedAt: undefined,
            destroyedAt: undefined,
          },
        });
      }
      const sha256 = policyHash(document);
      const record = await store.applyPolicy(
        { document, sha256, policy: plan.policy, appliedAt: now, appliedBy: authority.actor.id },
        changes,
        [],
        {
          action: 'policy.apply',
          outcome: 'success',
          actor: authority.actor,
          object: { type: 'policy', id: sha256 },
          ...(authority.approval === undefined ? {} : { approval: authority.approval }),
          details: { changes: plan.changes.slice(0, 100), newKeySets: plan.fresh.map(({ name }) => name) },
        },
      );
      ports.onApplied(record);
      return {
        version: record.version,
        sha256,
        changes: plan.changes.length,
        newKeySets: plan.fresh.map(({ name }) => name),
      };
    },
  };
}
