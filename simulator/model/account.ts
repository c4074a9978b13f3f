/** What is counted while the model runs: messages (I3), how returning devices catch up, and the rollouts' times. */
import { z } from 'zod';
import type { RolloutRecord, RolloutTarget, TargetTally } from '#gateway/ports/store/records.ts';
import { RolloutId } from '#schema/ids.ts';
import { ROLLOUT_STATES } from '#schema/rollout-states.ts';
import type { MadeReport } from './device.ts';
import type { Engine, EngineListener } from './engine.ts';
import { History } from './history.ts';
import type { ModelNode } from './node.ts';
import { stateIndex } from './tally.ts';
import { Watch } from './watch.ts';

const DAY = 86_400_000;

/**
 * Updates in order for one occasion beside those for trust links: the one that closes the difference, one for the time,
 * one that was on its way already, and one each for a change that came in between and for its answer.
 */
const ALLOWED = 5;
/** Repetitions until a device whose report was lost reports again. */
const ALLOWED_AFTER_LOSS = 8;
/** A device that asked for time is asked again after it, and may ask for more. */
const ALLOWED_AFTER_DEFERRAL = 2;

export const Counters = z.strictObject({
  updates: z.int(),
  links: z.int(),
  reports: z.int(),
  lost: z.int(),
  quarantined: z.int(),
});
export type Counters = z.infer<typeof Counters>;

const NotYet = z.undefined();

/** One rollout's times, in milliseconds since 1970. */
export const RolloutAccount = z.strictObject({
  id: RolloutId,
  what: z.string(),
  approvedAt: z.number(),
  waves: z.array(z.strictObject({ name: z.string(), openedAt: z.number(), passedAt: z.number().or(NotYet) })),
  reached: z.partialRecord(z.enum(ROLLOUT_STATES), z.number()),
  pauses: z.array(z.strictObject({ code: z.string(), at: z.number(), resumedAt: z.number().or(NotYet) })),
  stragglers: z.int(),
  signedOff: z.int(),
  targets: z.int(),
});
export type RolloutAccount = z.infer<typeof RolloutAccount>;

/** A device that was away for a day or more: messages and milliseconds until it held what it should. */
export const Returned = z.strictObject({ absence: z.number(), messages: z.int(), ms: z.number() });
export type Returned = z.infer<typeof Returned>;

const SENT = 1;
const REPORTED = 2;
const TARGET = 3;
const ROLLOUT = 4;

export function whatOf(rollout: RolloutRecord): string {
  switch (rollout.kind) {
    case 'key-version':
      return `${rollout.keySet} ${rollout.toVersion}`;
    case 'trust-bundle':
      return `trust bundle ${rollout.toVersion}`;
    case 're-enrolment':
      return `re-enrolment (${rollout.campaign.reason})`;
  }
}

export class Account implements EngineListener {
  readonly counters: Counters = { updates: 0, links: 0, reports: 0, lost: 0, quarantined: 0 };
  readonly rollouts = new Map<RolloutId, RolloutAccount>();
  readonly returned: Returned[] = [];
  readonly history = new History();
  readonly watch: Watch;
  /** What people are told of. */
  onRolloutStep: (before: RolloutRecord | undefined, after: RolloutRecord) => void = () => undefined;
  private readonly engine: Engine;
  private readonly numbers = new Map<RolloutId, number>();

  constructor(engine: Engine) {
    this.engine = engine;
    this.watch = new Watch(
      () => engine.world,
      () => engine.now,
    );
  }

  due(): void {}

  moved(): void {}

  sent(node: ModelNode, links: number): void {
    const { catchup } = node;
    this.watch.sent(node);
    this.counters.updates += 1;
    this.counters.links += links;
    if (catchup.since === undefined) this.open(node, 0);
    catchup.messages += 1 + links;
    catchup.allowance += links;
    this.note(SENT, node.number, node.state.sync.seq);
    if (catchup.messages > catchup.allowance && isOrdinary(node)) {
      this.watch.fail(
        'I3',
        `${node.device.id} was sent ${catchup.messages} messages where ${catchup.allowance} would do`,
      );
      this.open(node, catchup.absence);
    }
  }

  lost(node: ModelNode): void {
    this.counters.lost += 1;
    node.catchup.allowance += ALLOWED_AFTER_LOSS;
  }

  connected(node: ModelNode, absence: number): void {
    const { catchup } = node;
    if (catchup.since === undefined || absence >= DAY) this.open(node, absence);
    else catchup.allowance += ALLOWED;
  }

  reported(node: ModelNode, { report }: MadeReport, outcome: string): void {
    const { catchup, state } = node;
    this.counters.reports += 1;
    this.note(REPORTED, node.number, report.counter);
    if (outcome === 'quarantine') {
      this.counters.quarantined += 1;
      this.watch.fail('honest', `${node.device.id} was quarantined for its reports`);
    }
    // No device of the model holds what nobody sent it, and its gateway forgets nothing.
    if (state.sync.unexpected !== undefined) this.watch.fail('honest', `${node.device.id}: ${state.sync.unexpected}`);
    if (outcome !== 'accepted' || catchup.since === undefined) return;
    const until = report.results.find((result) => result.outcome === 'deferred')?.until;
    if (until !== undefined && until !== catchup.deferredUntil) catchup.allowance += ALLOWED_AFTER_DEFERRAL;
    catchup.deferredUntil = until ?? catchup.deferredUntil;
    const { dueAt, attempts } = state.sync;
    if (attempts > 0 || (dueAt !== undefined && dueAt.getTime() <= this.engine.now)) return;
    this.settle(node);
  }

  deviceChanged(node: ModelNode): void {
    this.watch.deviceChanged(node);
  }

  targetStep(node: ModelNode, before: RolloutTarget | undefined, after: RolloutTarget): void {
    // A change that begins while another one is under way is an occasion of its own.
    if (before?.state !== after.state) node.catchup.allowance += ALLOWED;
    this.note(TARGET, node.number, (this.numbers.get(after.rollout) ?? 0) * 64 + stateIndex(after.state));
  }

  versionsChanged: Watch['versionsChanged'] = (keySet, changes) => {
    this.watch.versionsChanged(keySet, changes);
    for (const { catchup } of this.engine.world.nodes) if (catchup.since !== undefined) catchup.allowance += ALLOWED;
  };

  rolloutStep(before: RolloutRecord | undefined, after: RolloutRecord, tallies: readonly TargetTally[]): void {
    const now = this.engine.now;
    const account = this.accountOf(after);
    this.note(ROLLOUT, this.numbers.get(after.id) ?? 0, after.wave);
    account.targets = tallies.reduce((sum, { targets }) => sum + targets, 0);
    account.reached[after.state] ??= now;
    if (before !== undefined) recordWaves(account, before, after, now);
    const pause = account.pauses.at(-1);
    if (after.pause !== undefined && before?.pause === undefined)
      account.pauses.push({ code: after.pause.code, at: now, resumedAt: undefined });
    else if (after.pause === undefined && pause !== undefined) pause.resumedAt ??= now;
    if (after.stragglersAt !== undefined && before?.stragglersAt === undefined) {
      account.stragglers = tallies.reduce((sum, { old, targets }) => (old === 'in-use' ? sum + targets : sum), 0);
    }
    account.signedOff = tallies.reduce((sum, { old, targets }) => (old === 'waived' ? sum + targets : sum), 0);
    this.onRolloutStep(before, after);
  }

  private accountOf(rollout: RolloutRecord): RolloutAccount {
    const known = this.rollouts.get(rollout.id);
    if (known !== undefined) return known;
    const account: RolloutAccount = {
      id: rollout.id,
      what: whatOf(rollout),
      approvedAt: this.engine.now,
      waves: [],
      reached: {},
      pauses: [],
      stragglers: 0,
      signedOff: 0,
      targets: 0,
    };
    this.numbers.set(rollout.id, this.numbers.size + 1);
    this.rollouts.set(rollout.id, account);
    return account;
  }

  private open({ catchup }: ModelNode, absence: number): void {
    catchup.since = this.engine.now;
    catchup.absence = absence;
    catchup.messages = 0;
    catchup.allowance = ALLOWED;
  }

  private settle(node: ModelNode): void {
    const { catchup } = node;
    if (catchup.since !== undefined && catchup.absence >= DAY && isOrdinary(node))
      this.returned.push({
        absence: catchup.absence,
        messages: catchup.messages,
        ms: this.engine.now - catchup.since,
      });
    catchup.since = undefined;
    catchup.absence = 0;
    node.isGivenUp = false;
  }

  private note(what: number, subject: number, value: number): void {
    this.history.note(this.engine.now, what, subject, value);
  }
}

/** Others are never done, or only when they please. */
const isOrdinary = ({ device }: ModelNode): boolean => device.conduct === 'ordinary' || device.conduct === 'busy';

function recordWaves(account: RolloutAccount, before: RolloutRecord, after: RolloutRecord, now: number): void {
  const isOpen = after.state === 'distributing';
  const opens = isOpen && (before.state !== 'distributing' || after.wave !== before.wave);
  const passed = before.state === 'distributing' && (after.wave !== before.wave || after.state !== 'distributing');
  const last = account.waves.at(-1);
  if (passed && last !== undefined) last.passedAt = now;
  if (opens) account.waves.push({ name: after.plan.waves[after.wave]?.name ?? '', openedAt: now, passedAt: undefined });
}
