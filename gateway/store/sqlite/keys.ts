/** Key versions and the rollouts that carry them. */
import { and, asc, desc, eq, gt, inArray, isNotNull, isNull, ne, sql } from 'drizzle-orm';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import type { KeySetName, RolloutId } from '#schema/ids.ts';
import { devices, deviceSync, keySets, keyVersions, rollouts, rolloutTargets } from '#schema/tables.ts';
import type { KeyVersionChange, KeyVersionStore, RolloutOutcome, RotationOutcome } from '#gateway/ports/store/keys.ts';
import type { DeviceRecord, KeySetRecord, KeyVersionRecord, RolloutRecord } from '#gateway/ports/store/records.ts';
import { raiseDue, selectorCondition } from './due.ts';
import { insertKeyVersion, insertRollout, keySetQueries, openRolloutsOf } from './key-sets.ts';
import { NO_PROGRESS, rolloutProgress } from './progress.ts';
import { deviceRecord, Instant, ms, optional, reader, rolloutRecord, rolloutTarget } from './rows.ts';
import type { StoreContext } from './transaction.ts';

const presence = reader(z.object({ connected: z.boolean(), lastSeenAt: optional(Instant) }), 'device_sync');

/** Devices looked at in one go while targets are made, so that a large floor does not fill the memory. */
const PAGE = 5_000;

type Start = Extract<RotationOutcome, { kind: 'start' }>;
type Advance = Extract<RolloutOutcome, { kind: 'advance' }>;

/** A version after a change; the first time of each state is kept. */
function changedVersion(version: KeyVersionRecord, change: KeyVersionChange, at: Date) {
  const since = (state: string, before: Date | undefined): number | null =>
    ms(before ?? (change.state === state ? at : undefined));
  return {
    state: change.state,
    retiredAt: change.retired ? ms(version.retiredAt ?? at) : null,
    activatedAt: since('active', version.activatedAt),
    deactivatedAt: since('deactivated', version.deactivatedAt),
    destroyedAt: since('destroyed', version.destroyedAt),
    ...(change.erase ? { wrapped: null } : {}),
  };
}

export function keyVersionStore(context: StoreContext): KeyVersionStore {
  const { db, statements, transactions, flushLog } = context;
  const queries = keySetQueries(context);
  const insertTarget = statements.change(
    db.insert(rolloutTargets).values({
      rollout: sql.placeholder('rollout'),
      device: sql.placeholder('device'),
      wave: sql.placeholder('wave'),
      state: sql.placeholder('state'),
      changedAt: sql.placeholder('at'),
    }),
  );

  const find = (id: RolloutId): RolloutRecord | undefined => {
    const row = db.select().from(rollouts).where(eq(rollouts.id, id)).get();
    return row === undefined ? undefined : rolloutRecord(row);
  };

  const raiseRevision = (name: KeySetName): void => {
    db.update(keySets)
      .set({ revision: sql`${keySets.revision} + 1` })
      .where(eq(keySets.name, name))
      .run();
  };

  const page = (keySet: KeySetRecord, after: string): readonly DeviceRecord[] =>
    db
      .select()
      .from(devices)
      .where(and(gt(devices.id, after), ne(devices.state, 'revoked'), selectorCondition(keySet.selector)))
      .orderBy(asc(devices.id))
      .limit(PAGE)
      .all()
      .map(deviceRecord);

  const addTargets = (keySet: KeySetRecord, { rollout, target }: Start, at: Date): void => {
    for (let after = '', more = true; more;) {
      const found = page(keySet, after);
      for (const device of found) {
        const chosen = target(device);
        if (chosen === undefined) continue;
        const state = device.state.kind === 'quarantined' ? 'quarantined' : chosen.state;
        insertTarget({ rollout: rollout.id, device: device.id, wave: chosen.wave, state, at: at.getTime() });
      }
      after = found.at(-1)?.id ?? after;
      more = found.length === PAGE;
    }
  };

  const start = (keySet: KeySetRecord, outcome: Start, at: Date): void => {
    insertKeyVersion(db, outcome.version);
    insertRollout(db, outcome.rollout);
    raiseRevision(keySet.name);
    addTargets(keySet, outcome, at);
    const chosen = db
      .select({ device: rolloutTargets.device })
      .from(rolloutTargets)
      .where(and(eq(rolloutTargets.rollout, outcome.rollout.id), eq(rolloutTargets.state, 'pending')));
    raiseDue(db, inArray(devices.id, chosen), at);
  };

  const changeVersions = (keySet: KeySetRecord, changes: readonly KeyVersionChange[], at: Date): void => {
    if (changes.length === 0) return;
    for (const change of changes) {
      const version = keySet.versions.find((candidate) => candidate.version === change.version);
      if (version === undefined) {
        throw new CroupierError('keyset.version-not-found', `Key set ${keySet.name} has no version ${change.version}`);
      }
      db.update(keyVersions)
        .set(changedVersion(version, change, at))
        .where(and(eq(keyVersions.keySet, keySet.name), eq(keyVersions.version, change.version)))
        .run();
    }
    raiseRevision(keySet.name);
    raiseDue(db, selectorCondition(keySet.selector), at);
  };

  const advance = (rollout: RolloutRecord, outcome: Advance, at: Date): void => {
    const since = (state: string, before: Date | undefined): number | null =>
      ms(before ?? (outcome.state === state ? at : undefined));
    db.update(rollouts)
      .set({
        state: outcome.state,
        activatedAt: since('active', rollout.activatedAt),
        retiredAt: since('retired', rollout.retiredAt),
        finishedAt: outcome.finished ? ms(rollout.finishedAt ?? at) : null,
      })
      .where(eq(rollouts.id, rollout.id))
      .run();
  };

  return {
    async keySets() {
      return transactions.read(() => queries.all());
    },

    async keySet(name) {
      return transactions.read(() => queries.one(name));
    },

    async startRotation(name, at, decide) {
      return transactions.write((journal) => {
        const keySet = queries.one(name);
        const outcome = decide(keySet, openRolloutsOf(db, name));
        if (outcome.kind === 'start') {
          if (keySet === undefined) throw new CroupierError('keyset.not-found', `There is no key set ${name}`);
          start(keySet, outcome, at);
        }
        journal(outcome.audit, at);
        return outcome;
      });
    },

    async advanceRollout(id, at, decide) {
      const outcome = await transactions.write((journal) => {
        const rollout = find(id);
        const keySet = rollout === undefined ? undefined : queries.one(rollout.keySet);
        const decided = decide(rollout, keySet, rollout === undefined ? NO_PROGRESS : rolloutProgress(db, rollout));
        if (decided.kind === 'stay') return decided;
        if (decided.kind === 'advance') {
          if (rollout === undefined) throw new CroupierError('rollout.not-found', `There is no rollout ${id}`);
          if (keySet === undefined)
            throw new CroupierError('keyset.not-found', `There is no key set ${rollout.keySet}`);
          advance(rollout, decided, at);
          changeVersions(keySet, decided.versions, at);
        }
        journal(decided.audit, at);
        return decided;
      });
      if (outcome.kind === 'advance' && outcome.versions.some(({ erase }) => erase)) flushLog();
      return outcome;
    },

    async rollouts(open, limit) {
      return transactions.read(() => {
        const condition = open === true ? isNull(rollouts.finishedAt) : isNotNull(rollouts.finishedAt);
        return db
          .select()
          .from(rollouts)
          .where(open === undefined ? undefined : condition)
          .orderBy(desc(rollouts.createdAt), desc(rollouts.id))
          .limit(limit)
          .all()
          .map(rolloutRecord);
      });
    },

    async rollout(id) {
      return transactions.read(() => {
        const rollout = find(id);
        return rollout === undefined ? undefined : { rollout, progress: rolloutProgress(db, rollout) };
      });
    },

    async rolloutTargets(id, { states, after, limit }) {
      return transactions.read(() =>
        db
          .select()
          .from(rolloutTargets)
          .innerJoin(deviceSync, eq(deviceSync.device, rolloutTargets.device))
          .where(
            and(
              eq(rolloutTargets.rollout, id),
              states === undefined ? undefined : inArray(rolloutTargets.state, [...states]),
              after === undefined ? undefined : gt(rolloutTargets.device, after),
            ),
          )
          .orderBy(asc(rolloutTargets.device))
          .limit(limit)
          .all()
          .map((row) => ({ ...rolloutTarget(row.rollout_targets), ...presence(row.device_sync) })),
      );
    },
  };
}
