/** The targets of a rollout: added in pages, changed by a person's word, made due, and read. */
import { and, asc, eq, gt, inArray, isNotNull, isNull, ne, sql, type SQL } from 'drizzle-orm';
import type { RolloutId } from '#schema/ids.ts';
import type { Selector } from '#schema/rollout-plan.ts';
import { certificates, devices, deviceSync, rolloutTargets } from '#schema/tables.ts';
import type { RolloutRecord, RolloutTarget, TargetState, TargetTally } from '#gateway/ports/store/records.ts';
import type { NewTarget, PlanDevice, TargetChange, TargetDetail, TargetFilter } from '#gateway/ports/store/rollouts.ts';
import { UNANSWERED } from '#gateway/rollout/unanswered.ts';
import { FROM_THE_START } from './containment.ts';
import { selectorCondition, SERVED } from './due.ts';
import { planDevice, planPresence, rolloutTarget } from './rollout-rows.ts';
import type { StoreContext } from './transaction.ts';

type Prepared = Pick<StoreContext, 'db' | 'statements'>;

/** Adds one target unless it is there; a device that is quarantined by now gets one that says so, a revoked one none. */
export function targetAdder({ db, statements }: Prepared): (id: RolloutId, target: NewTarget, at: Date) => void {
  const slot = (name: string) => sql`${sql.placeholder(name)}`;
  const isQuarantined = sql`${devices.state} = 'quarantined'`;
  const add = statements.change(
    db
      .insert(rolloutTargets)
      .select(
        db
          .select({
            rollout: slot('rollout').as('rollout'),
            device: devices.id,
            wave: slot('wave').as('wave'),
            position: slot('position').as('position'),
            service: slot('service').as('service'),
            state: sql`case when ${isQuarantined} then 'quarantined' else ${sql.placeholder('state')} end`.as('state'),
            code: sql`case when ${isQuarantined} then ${devices.stateCode} end`.as('code'),
            reason: sql`null`.as('reason'),
            deferredUntil: sql`null`.as('deferred_until'),
            offeredAt: sql`null`.as('offered_at'),
            attempts: sql`0`.as('attempts'),
            changedAt: slot('at').as('changed_at'),
            online: deviceSync.connected,
            old: sql`'gone'`.as('old'),
            signedOff: sql`null`.as('signed_off'),
          })
          .from(devices)
          .innerJoin(deviceSync, eq(deviceSync.device, devices.id))
          .where(and(eq(devices.id, sql.placeholder('device')), ne(devices.state, 'revoked'))),
      )
      .onConflictDoNothing(),
  );
  return (id, { device, wave, position, service, state }, at) =>
    void add({ rollout: id, device, wave, position, service: service ? 1 : 0, state, at: at.getTime() });
}

/** Changes one target; when its state changes, what was tried in the one before is forgotten. */
export function targetChanger({
  db,
  statements,
}: Prepared): (before: RolloutTarget, change: TargetChange, at: Date) => void {
  const slot = (name: string) => sql`${sql.placeholder(name)}`;
  const word = { code: slot('code'), reason: slot('reason'), signedOff: slot('signedOff') };
  const moved = { ...word, state: slot('state'), deferredUntil: null, changedAt: slot('at') };
  const named = and(
    eq(rolloutTargets.rollout, sql.placeholder('rollout')),
    eq(rolloutTargets.device, sql.placeholder('device')),
  );
  const say = statements.change(db.update(rolloutTargets).set(word).where(named));
  const move = statements.change(db.update(rolloutTargets).set(moved).where(named));
  const restart = statements.change(
    db
      .update(rolloutTargets)
      .set({ ...moved, ...FROM_THE_START })
      .where(named),
  );
  return ({ rollout, device, state: before }, { state, code, reason, signedOff }, at) => {
    const values = {
      rollout,
      device,
      code: code ?? null,
      reason: reason ?? null,
      signedOff: signedOff ?? null,
    };
    if (state === before) say(values);
    else (state === 'pending' ? restart : move)({ ...values, state, at: at.getTime() });
  };
}

const states = (names: readonly string[]): SQL =>
  sql.join(
    names.map((name) => sql`${name}`),
    sql`, `,
  );

/** Nothing more is wanted of targets in these states. */
const DONE: readonly TargetState[] = ['active', 'old-retired', 'old-destroyed', 'exempt', 'superseded', 'quarantined'];

/** Makes targets due at the time that `when` says, or earlier where they were. */
function raiseTargets({ db }: Prepared, id: RolloutId, condition: SQL, when: SQL): void {
  db.run(sql`update ${deviceSync} set due_at = chosen.at
    from (select ${rolloutTargets.device} as device, ${when} as at from ${rolloutTargets}
      join ${devices} on ${devices.id} = ${rolloutTargets.device} and ${devices.state} in (${states(SERVED)})
      where ${rolloutTargets.rollout} = ${id} and ${condition}) as chosen
    where chosen.device = ${deviceSync.device} and (${deviceSync.dueAt} is null or ${deviceSync.dueAt} > chosen.at)`);
}

/** Targets of the open waves that have not answered; with a rate those of the latest wave one after the other. */
export function raiseUnanswered(context: Prepared, { id, wave, waveOpenedAt, plan }: RolloutRecord, at: Date): void {
  const now = at.getTime();
  const { rate } = plan;
  const whole = (value: number): SQL => sql`cast(${value} as integer)`;
  const turn =
    rate === null || waveOpenedAt === undefined
      ? whole(now)
      : sql`case when ${rolloutTargets.wave} < ${wave} or ${rolloutTargets.state} <> 'pending' then ${whole(now)} else max(${whole(now)},
          ${whole(waveOpenedAt.getTime())} + ${rolloutTargets.position} / ${whole(rate.targets)} * ${whole(rate.perMs)}) end`;
  const isUnanswered = sql`${rolloutTargets.state} in (${states(UNANSWERED)})`;
  raiseTargets(context, id, sql`${isUnanswered} and ${rolloutTargets.wave} <= ${wave}`, turn);
}

/** Every target that is not done. */
export function raiseUnfinished(context: Prepared, { id }: RolloutRecord, at: Date): void {
  const isUnfinished = sql`${rolloutTargets.state} not in (${states(DONE)})`;
  raiseTargets(context, id, isUnfinished, sql`cast(${at.getTime()} as integer)`);
}

/** Devices that a selector names and that were not revoked, by id. */
export function planDevices(
  { db, statements }: Prepared,
  selector: Selector,
  after: string,
  limit: number,
): readonly PlanDevice[] {
  const columns = {
    id: devices.id,
    class: devices.class,
    site: devices.site,
    labels: devices.labels,
    state: devices.state,
    stateCode: devices.stateCode,
    connected: deviceSync.connected,
    lastSeenAt: deviceSync.lastSeenAt,
    issuer: certificates.issuer,
    certifiedAt: certificates.createdAt,
    notAfter: certificates.notAfter,
  };
  const names = Object.keys(columns);
  const page = statements.all(
    db
      .select(columns)
      .from(devices)
      .innerJoin(deviceSync, eq(deviceSync.device, devices.id))
      .leftJoin(certificates, and(eq(certificates.serial, devices.currentSerial), eq(certificates.state, 'issued')))
      .where(and(gt(devices.id, after), ne(devices.state, 'revoked'), selectorCondition(selector)))
      .orderBy(asc(devices.id))
      .limit(limit),
    (row) => planDevice(Object.fromEntries(names.map((name, index) => [name, row[index]]))),
  );
  return page();
}

/** States in which a rollout has targets that the filter lets through: each is a range of an index. */
function statesWith(filter: TargetFilter, tallies: readonly TargetTally[]): readonly TargetState[] {
  const fits = (tally: TargetTally): boolean =>
    (filter.states === undefined || filter.states.includes(tally.state)) &&
    (filter.wave === undefined || filter.wave === tally.wave) &&
    (filter.online === undefined || filter.online === tally.online) &&
    (filter.service === undefined || filter.service === tally.service) &&
    (filter.deferred === undefined || filter.deferred === tally.deferred) &&
    (filter.old === undefined || filter.old.includes(tally.old));
  return [...new Set(tallies.filter(fits).map(({ state }) => state))];
}

/** Targets that the filter lets through, by device. */
export function targetsOf(
  { db }: Prepared,
  id: RolloutId,
  filter: TargetFilter,
  tallies: readonly TargetTally[],
): readonly TargetDetail[] {
  const { wave, online, service, deferred, old, after, limit } = filter;
  const page = (state: TargetState): readonly TargetDetail[] =>
    db
      .select()
      .from(rolloutTargets)
      .innerJoin(deviceSync, eq(deviceSync.device, rolloutTargets.device))
      .where(
        and(
          eq(rolloutTargets.rollout, id),
          eq(rolloutTargets.state, state),
          after === undefined ? undefined : gt(rolloutTargets.device, after),
          wave === undefined ? undefined : eq(rolloutTargets.wave, wave),
          online === undefined ? undefined : eq(rolloutTargets.online, online),
          service === undefined ? undefined : eq(rolloutTargets.service, service),
          deferred === undefined ? undefined : (deferred ? isNotNull : isNull)(rolloutTargets.deferredUntil),
          old === undefined ? undefined : inArray(rolloutTargets.old, [...old]),
        ),
      )
      .orderBy(asc(rolloutTargets.device))
      .limit(limit)
      .all()
      .map((row) => ({ ...rolloutTarget(row.rollout_targets), ...planPresence(row.device_sync) }));
  return statesWith(filter, tallies)
    .flatMap(page)
    .sort((a, b) => (a.device < b.device ? -1 : 1))
    .slice(0, limit);
}
