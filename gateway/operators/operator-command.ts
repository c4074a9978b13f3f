/** Operators: who they are, and adding one. Tokens are random and long, so that a plain SHA-256 of one can be stored. */
import { createHash } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import type { OperatorName } from '#schema/ids.ts';
import type { Role } from '#schema/operators.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { OperatorRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { Command } from './command.ts';

/** 256 bits, base64url, with a prefix that secret scanners can find. `random` must be fit for secrets. */
export function makeToken(random: Random): string {
  return `croupier_${random.bytes(32).toString('base64url')}`;
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('hex');
}

/**
 * Finds the operator of a token. The look-up is by the token's hash, so its time tells nothing about any token.
 * Errors: `operator.unauthenticated`.
 */
export async function authenticate(store: Store, token: string | undefined): Promise<OperatorRecord> {
  const operator = token === undefined ? undefined : await store.operatorByTokenHash(hashToken(token));
  if (operator === undefined) throw new CroupierError('operator.unauthenticated');
  return operator;
}

interface NewOperator {
  readonly name: OperatorName;
  readonly role: Role;
  readonly tokenHash: string;
}

async function addOperator(
  store: Store,
  clock: Clock,
  operator: NewOperator,
  actor: AuditActor,
  approval: AuditEvent['approval'],
): Promise<void> {
  const now = clock.now();
  await store.addOperator(
    { name: operator.name, role: operator.role, createdAt: now, createdBy: actor.id, tokenHash: operator.tokenHash },
    {
      action: 'operator.add',
      outcome: 'success',
      actor,
      object: { type: 'operator', id: operator.name },
      ...(approval === undefined ? {} : { approval }),
      details: { role: operator.role },
    },
  );
}

export function operatorAddCommand(store: Store, clock: Clock): Command<'operator.add'> {
  return {
    summary: ({ name, role }) => `add ${name} as ${role}`,
    check: async ({ name }) => {
      if ((await store.operatorByName(name)) !== undefined)
        throw new CroupierError('operator.exists', `there is an operator ${name} already`);
    },
    execute: async (operator, authority) => {
      await addOperator(store, clock, operator, authority.actor, authority.approval);
      return { name: operator.name, role: operator.role };
    },
  };
}

/**
 * The founding of a role: whoever owns the data directory may add the first operator of each role, since nobody could
 * approve it. From then on `operator.add` needs two people. Errors: `approval.required`.
 */
export async function foundOperator(
  store: Store,
  clock: Clock,
  operator: NewOperator,
  actor: AuditActor,
): Promise<void> {
  if ((await store.countOperators(operator.role)) > 0) {
    throw new CroupierError(
      'approval.required',
      `there is a ${operator.role} already; a further one is added over the operator API and approved by another person`,
    );
  }
  await addOperator(store, clock, operator, actor, undefined);
}
