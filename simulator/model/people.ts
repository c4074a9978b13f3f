/** What operators do, by the gateway's own decisions: each answers whether it was done or refused. */
import { hash } from 'node:crypto';
import type { KeySetRecord, RolloutRecord, RolloutTarget, TargetTally } from '#gateway/ports/store/records.ts';
import type { RolloutOutcome, StartOutcome, TargetsOutcome } from '#gateway/ports/store/rollouts.ts';
import { activeVersion, nextVersion } from '#gateway/keys/decide-rotation.ts';
import { ended, isOnItsWay, newRollout, refuseStart, type StartTerms } from '#gateway/rollout/begin.ts';
import type { Word } from '#gateway/rollout/decide-operator.ts';
import { expedited, planHash, resolvePlan, type PlannedChange } from '#gateway/rollout/plan.ts';
import { rivalsOf } from '#gateway/rollout/planning.ts';
import {
  ApprovalId,
  RolloutId,
  Sha256,
  TrustVersion,
  type DeviceId,
  type KeySetName,
  type KeyVersionNumber,
} from '#schema/ids.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import type { Engine } from './engine.ts';
import { checkValue, KEK, WRAPPED } from './key-versions.ts';

export type Answer = 'done' | 'refused';

type Outcome = { readonly kind: StartOutcome['kind'] | RolloutOutcome['kind'] | TargetsOutcome['kind'] };
const answerOf = ({ kind }: Outcome): Answer => (kind === 'refuse' ? 'refused' : 'done');

const BUNDLE_LIFE_MS = 365 * 86_400_000;
const SOME_ANCHOR = 'AA==';
const UNDER_WAY = 'the same campaign is on its way already';

/** UUIDs of one kind of thing, one after the other. */
function numbering(kind: number): () => string {
  let numbered = 0;
  return () => {
    numbered += 1;
    return `00000000-0000-4000-8${String(kind).padStart(3, '0')}-${String(numbered).padStart(12, '0')}`;
  };
}

/** How a change of a target is decided. */
type Choice = (rollout: RolloutRecord, targets: readonly RolloutTarget[], word: Word) => TargetsOutcome;
type Started = Extract<StartOutcome, { kind: 'start' }>;
type Step = (
  rollout: RolloutRecord,
  keySet: KeySetRecord | undefined,
  tallies: readonly TargetTally[],
  word: Word,
) => RolloutOutcome;

function started(rollout: RolloutRecord, rivals: readonly RolloutRecord[], at: Date): Started {
  const others = rivals.map((one) => ended(one, 'superseded', at));
  return { kind: 'start', rollout, version: undefined, bundle: undefined, versions: [], others, audit: [] };
}

export class People {
  private readonly engine: Engine;
  /** Rollouts are numbered by themselves: each lane has its own approvals, and all have the same rollouts. */
  private readonly numbers = { rollout: numbering(0), approval: numbering(1) };

  constructor(engine: Engine) {
    this.engine = engine;
  }

  rotate(name: KeySetName, plan: string | undefined, options: { readonly supersede?: boolean } = {}): Answer {
    return this.startRotation(name, resolvePlan(this.engine.policy, plan), options.supersede ?? false, undefined);
  }

  compromise(name: KeySetName, version: KeyVersionNumber): Answer {
    const known = this.engine.world.keySet(name)?.versions.find((entry) => entry.version === version);
    if (known === undefined || known.state === 'destroyed') return 'refused';
    return this.startRotation(name, expedited(resolvePlan(this.engine.policy)), true, version);
  }

  /** A bundle that is on its way already is superseded: devices walk through it (gateway/trust/publish.ts). */
  publishTrust(plan: string | undefined): Answer {
    const { world, date, realm } = this.engine;
    const toVersion = TrustVersion.parse(world.trustLatest + 1);
    const sha256 = Sha256.parse(hash('sha256', `trust ${toVersion}`, 'hex'));
    const change = { kind: 'trust-bundle' as const, fromVersion: world.trustLatest, toVersion };
    const terms = this.terms({ ...change, anchorsSha256: sha256 }, resolvePlan(this.engine.policy, plan));
    const body: TrustBundle = {
      v: 1,
      type: 'trust-bundle',
      realm,
      version: toVersion,
      previous: null,
      issuedAt: date.toISOString(),
      expiresAt: new Date(date.getTime() + BUNDLE_LIFE_MS).toISOString(),
      anchors: { identity: [SOME_ANCHOR], transport: [SOME_ANCHOR], messages: [SOME_ANCHOR] },
      messageSigners: [{ spkiSha256: sha256, role: 'current' }],
    };
    const bundle = { version: toVersion, der: WRAPPED, sha256, body };
    const outcome = world.startRollout(undefined, date, ({ open }) => {
      const rivals = open.filter(({ kind }) => kind === 'trust-bundle');
      return { ...started(newRollout(change, terms), rivals, date), bundle };
    });
    return answerOf(outcome);
  }

  /** Every certificate issued before now is to be replaced. */
  campaign(plan: string | undefined): Answer {
    const { world, date } = this.engine;
    const campaign = { reason: 'policy' as const, selector: {}, issuer: undefined, before: date };
    const change = { kind: 're-enrolment' as const, campaign };
    const terms = this.terms(change, resolvePlan(this.engine.policy, plan));
    const outcome = world.startRollout(undefined, date, ({ open }) => {
      const rivals = rivalsOf(change, open);
      if (rivals.some(isOnItsWay))
        return refuseStart(
          'enrolment.campaign',
          { type: 'rollout', id: terms.rollout },
          terms,
          'rollout.under-way',
          UNDER_WAY,
        );
      return started(newRollout(change, terms), rivals, date);
    });
    return answerOf(outcome);
  }

  move(id: RolloutId, decide: Step): Answer {
    const { world, date } = this.engine;
    const outcome = world.advanceRollout(id, date, (rollout, keySet, tallies) =>
      rollout === undefined ? { kind: 'stay', until: undefined } : decide(rollout, keySet, tallies, this.word()),
    );
    return answerOf(outcome);
  }

  retire(id: RolloutId): Answer {
    return this.move(id, this.engine.decisions.retire);
  }

  destroy(id: RolloutId): Answer {
    return this.move(id, this.engine.decisions.destroy);
  }

  pause(id: RolloutId): Answer {
    return this.move(id, (rollout, _, __, word) => this.engine.decisions.pause(rollout, 'to have a look', word));
  }

  resume(id: RolloutId): Answer {
    return this.move(id, (rollout, _, __, word) => this.engine.decisions.resume(rollout, word));
  }

  abort(id: RolloutId): Answer {
    return this.move(id, (rollout, keySet, _, word) => this.engine.decisions.abort(rollout, keySet, 'not now', word));
  }

  retry(id: RolloutId, devices: readonly DeviceId[]): Answer {
    return this.choose(id, devices, (rollout, targets, word) =>
      this.engine.decisions.retry(rollout, devices, targets, word),
    );
  }

  exempt(id: RolloutId, devices: readonly DeviceId[]): Answer {
    return this.choose(id, devices, (rollout, targets, word) =>
      this.engine.decisions.exempt(rollout, devices, targets, 'to be replaced', word),
    );
  }

  signOff(id: RolloutId, devices: readonly DeviceId[]): Answer {
    const approval = ApprovalId.parse(this.numbers.approval());
    return this.choose(id, devices, (rollout, targets, word) =>
      this.engine.decisions.signOff(rollout, devices, targets, 'lost', approval, word),
    );
  }

  private choose(id: RolloutId, devices: readonly DeviceId[], decide: Choice): Answer {
    const { world, date } = this.engine;
    if (world.rollout(id)?.finishedAt !== undefined) return 'refused';
    const outcome = world.changeTargets(id, date, devices, (rollout, targets) =>
      rollout === undefined ? { kind: 'change', targets: [], audit: [] } : decide(rollout, targets, this.word()),
    );
    return answerOf(outcome);
  }

  private startRotation(
    name: KeySetName,
    plan: RolloutPlan,
    supersede: boolean,
    compromised: KeyVersionNumber | undefined,
  ): Answer {
    const { world, date, decisions } = this.engine;
    const keySet = world.keySet(name);
    const active = keySet === undefined ? undefined : activeVersion(keySet);
    if (keySet === undefined || active === undefined) return 'refused';
    const version = nextVersion(keySet);
    const change = { kind: 'key-version' as const, keySet: name, fromVersion: active.version, toVersion: version };
    const request = {
      ...this.terms(change, plan),
      version,
      wrapped: WRAPPED,
      kek: KEK,
      kcv: checkValue(name, version),
      supersede,
      ...(compromised === undefined
        ? {}
        : { compromised: { version: compromised, reason: 'seen where it should not be' } }),
    };
    return answerOf(world.startRollout(name, date, (context) => decisions.rotation(name, context, request)));
  }

  private terms(change: PlannedChange, plan: RolloutPlan): StartTerms {
    const { date, policy } = this.engine;
    return {
      rollout: RolloutId.parse(this.numbers.rollout()),
      plan,
      planSha256: planHash(change, plan, policy.rollouts.windows),
      startAt: date,
      at: date,
      ...this.word(),
    };
  }

  private word(): Word {
    return { actor: { type: 'operator', id: 'kim' }, approval: undefined, now: this.engine.date };
  }
}
