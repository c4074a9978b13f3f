/** Rollouts: their beginning, their steps, and what became of their targets. */
import { and, desc, eq, inArray, isNotNull, isNull } from 'drizzle-orm';
import { CroupierError } from '#schema/errors.ts';
import type { RolloutId } from '#schema/ids.ts';
import { rollouts, rolloutTargets } from '#schema/tables.ts';
import type { KeySetRecord, RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import type { RolloutOutcome, RolloutStore, StartOutcome } from '#gateway/ports/store/rollouts.ts';
import { dueRaiser } from './due.ts';
import { changeVersions, insertKeyVersion, keySetQueries, raiseRevision } from './key-sets.ts';
import { historyOf, lastStep, noteWord } from './rollout-history.ts';
import { rolloutQueries } from './rollout-queries.ts';
import { changingColumns, rolloutColumns, rolloutRecord, rolloutTarget } from './rollout-rows.ts';
import {
  planDevices,
  raiseUnanswered,
  raiseUnfinished,
  targetAdder,
  targetChanger,
  targetsOf,
} from './rollout-targets.ts';
import type { StoreContext } from './transaction.ts';
import { trustChain } from './trust-chain.ts';

type Start = Extract<StartOutcome, { kind: 'start' }>;
type Advance = Extract<RolloutOutcome, { kind: 'advance' }>;

const notFound = (id: RolloutId): CroupierError => new CroupierError('rollout.not-found', `There is no rollout ${id}`);

const erases = (outcome: StartOutcome | RolloutOutcome): boolean =>
  (outcome.kind === 'start' || outcome.kind === 'advance') && outcome.versions.some(({ erase }) => erase);

/** Devices named in one statement; SQLite takes 32,766 parameters. */
const NAMED = 1_000;

/** Targets added in one commit: a few milliseconds, so that reports are taken in between. */
const ADDED_AT_ONCE = 500;

const partsOf = <T>(items: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, part) => items.slice(part * size, (part + 1) * size));

export function rolloutStore(context: StoreContext): RolloutStore {
  const { db, transactions, flushLog } = context;
  const queries = rolloutQueries(context);
  const keySets = keySetQueries(context);
  const chain = trustChain(context);
  const addTarget = targetAdder(context);
  const changeTarget = targetChanger(context);
  const raise = dueRaiser(context);

  const put = (rollout: RolloutRecord): void => {
    db.update(rollouts).set(changingColumns(rollout)).where(eq(rollouts.id, rollout.id)).run();
  };

  const keySetOf = (keySet: KeySetRecord | undefined, name: string | undefined): KeySetRecord => {
    if (keySet === undefined) throw new CroupierError('keyset.not-found', `There is no key set ${name ?? 'named'}`);
    return keySet;
  };

  const start = ({ rollout, version, bundle, versions, others }: Start, found: () => KeySetRecord, at: Date): void => {
    if (version !== undefined || versions.length > 0) raiseRevision(db, found().name, at);
    if (version !== undefined) insertKeyVersion(db, version);
    if (bundle !== undefined) chain.append(bundle);
    if (versions.length > 0) changeVersions(db, found(), versions, at);
    for (const other of others) put(other);
    db.insert(rollouts).values(rolloutColumns(rollout)).run();
  };

  const advance = ({ rollout, versions, due }: Advance, found: () => KeySetRecord, at: Date): void => {
    put(rollout);
    if (versions.length > 0) {
      raiseRevision(db, found().name, at);
      changeVersions(db, found(), versions, at);
    } else if (due === 'unanswered') raiseUnanswered(context, rollout, at);
    else if (due === 'all') raiseUnfinished(context, rollout, at);
  };

  const chosenTargets = (id: RolloutId, chosen: Parameters<RolloutStore['changeTargets']>[2]): RolloutTarget[] => {
    const where = (condition: ReturnType<typeof eq>): RolloutTarget[] =>
      db
        .select()
        .from(rolloutTargets)
        .where(and(eq(rolloutTargets.rollout, id), condition))
        .orderBy(rolloutTargets.device)
        .all()
        .map(rolloutTarget);
    if ('states' in chosen) return where(inArray(rolloutTargets.state, [...chosen.states]));
    const devices = [...new Set(chosen.devices)].sort();
    return partsOf(devices, NAMED).flatMap((part) => where(inArray(rolloutTargets.device, [...part])));
  };

  return {
    async startRollout(name, at, decide) {
      const outcome = await transactions.write((journal) => {
        const keySet = name === undefined ? undefined : keySets.one(name);
        const decided = decide({ keySet, open: queries.open(), trustLatest: chain.latestVersion() });
        if (decided.kind === 'start') start(decided, () => keySetOf(keySet, name), at);
        journal(decided.audit, at);
        return decided;
      });
      if (erases(outcome)) flushLog();
      return outcome;
    },

    async planDevices(selector, after, limit) {
      return transactions.read(() => planDevices(context, selector, after, limit));
    },

    async addTargets(id, targets, at) {
      for (const part of partsOf(targets, ADDED_AT_ONCE)) {
        await transactions.write(() => {
          if (queries.one(id) === undefined) throw notFound(id);
          for (const target of part) addTarget(id, target, at);
        });
      }
    },

    async advanceRollout(id, at, decide) {
      const outcome = await transactions.write((journal) => {
        const rollout = queries.one(id);
        const name = rollout?.kind === 'key-version' ? rollout.keySet : undefined;
        const keySet = name === undefined ? undefined : keySets.one(name);
        const decided = decide(rollout, keySet, rollout === undefined ? [] : queries.tallies(id));
        if (decided.kind === 'stay') return decided;
        if (decided.kind === 'advance') {
          if (rollout === undefined) throw notFound(id);
          advance(decided, () => keySetOf(keySet, name), at);
        }
        journal(decided.audit, at);
        return decided;
      });
      if (erases(outcome)) flushLog();
      return outcome;
    },

    async changeTargets(id, at, chosen, decide) {
      return transactions.write((journal) => {
        const rollout = queries.one(id);
        const targets = rollout === undefined ? [] : chosenTargets(id, chosen);
        const outcome = decide(rollout, targets);
        if (outcome.kind === 'change') {
          if (rollout === undefined) throw notFound(id);
          const last = lastStep(context);
          const before = new Map(targets.map((target) => [target.device, target]));
          for (const change of outcome.targets) {
            const target = before.get(change.device);
            if (target === undefined) continue;
            changeTarget(target, change, at);
            raise(change.device, at);
          }
          noteWord(context, last, outcome.audit, at);
        }
        journal(outcome.audit, at);
        return outcome;
      });
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
        const rollout = queries.one(id);
        return rollout === undefined ? undefined : { rollout, tallies: queries.tallies(id) };
      });
    },

    async rolloutTargets(id, filter) {
      return transactions.read(() => targetsOf(context, id, filter, queries.tallies(id)));
    },

    async history(of, after, limit) {
      return transactions.read(() => historyOf(context, of, after, limit));
    },
  };
}
