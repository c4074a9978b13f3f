/** Rollouts of a casino as its people handle them: over the operator API, by one where one may and by two where two must. */
import { z } from 'zod';
import type { EnrolmentCampaign, KeysetRotate, TrustPublish } from '#schema/api/commands.ts';
import type { RolloutPlanView, RolloutView } from '#schema/api/views.ts';
import type { AuditRecord } from '#schema/audit.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { DeviceId, RolloutId, type KeySetName } from '#schema/ids.ts';
import type { TargetState } from '#gateway/ports/store/records.ts';
import { WALLET, type Casino, type CasinoDevice } from './casino.ts';

export type RotationTerms = Partial<Omit<z.input<typeof KeysetRotate>, 'keySet'>>;
export type CampaignTerms = Partial<z.input<typeof EnrolmentCampaign>>;
export type PublicationTerms = Partial<z.input<typeof TrustPublish>>;

const Started = z.looseObject({ rollout: RolloutId });
const named = (devices: readonly string[]): DeviceId[] => devices.map((id) => DeviceId.parse(id));

/** What the devices themselves were seen to hold, in the order in which it came: `egm-1 wallet-kek 2 stored`. */
export class Sightings {
  readonly seen: string[] = [];
  private readonly known = new Set<string>();

  constructor(casino: Casino) {
    for (const device of casino.devices.values()) if (device.isOn) this.look(device);
    this.seen.length = 0;
    casino.onDeviceChange = (device) => this.look(device);
  }

  /** Place of a sighting in the order; -1 when it was never seen. */
  at(device: string, what: string): number {
    return this.seen.indexOf(`${device} ${what}`);
  }

  private look(device: CasinoDevice): void {
    for (const ring of device.run.agent.view.keyrings()) {
      for (const { version, state } of ring.versions) this.note(`${device.id} ${ring.keySet} ${version} ${state}`);
    }
    this.note(`${device.id} trust ${device.trustVersion}`);
    const serial = device.run.agent.view.identity()?.serial;
    if (serial !== undefined) this.note(`${device.id} certificate ${serial}`);
  }

  private note(what: string): void {
    if (this.known.has(what)) return;
    this.known.add(what);
    this.seen.push(what);
  }
}

export class RolloutDesk {
  private readonly casino: Casino;

  constructor(casino: Casino) {
    this.casino = casino;
  }

  async plan(plan: string, keySet: KeySetName = WALLET): Promise<RolloutPlanView> {
    return this.casino.as('grace', (api) =>
      api.call('rollout.plan', { body: { change: { kind: 'key-version', keySet }, plan } }),
    );
  }

  /** Members of each wave of a key version's plan, by the gateway's own dry run. */
  async wavesOf(plan: string): Promise<readonly (readonly DeviceId[])[]> {
    const { waves } = await this.plan(plan);
    return waves.map(({ members }) => members.map(({ device }) => device));
  }

  async rotate(terms: RotationTerms = {}, keySet: KeySetName = WALLET): Promise<RolloutId> {
    const started = await this.casino.byTwo('grace', (api) =>
      api.call('keyset.rotate', { params: { name: keySet }, body: terms }),
    );
    return Started.parse(started).rollout;
  }

  async compromise(version: number, keySet: KeySetName = WALLET): Promise<RolloutId> {
    const body = { version, reason: 'seen in the wild' };
    const started = await this.casino.byOne('grace', (api) =>
      api.call('keyset.compromise', { params: { name: keySet }, body }),
    );
    return Started.parse(started).rollout;
  }

  async campaign(terms: CampaignTerms = {}): Promise<RolloutId> {
    const body = { cause: 'policy', reason: 'shorter validity', ...terms } as const;
    const started = await this.casino.byTwo('grace', (api) => api.call('enrolment.campaign', { body }));
    return Started.parse(started).rollout;
  }

  /** The rollout of the bundle that it publishes. */
  async publish(terms: PublicationTerms = {}): Promise<RolloutId> {
    await this.casino.byTwo('ada', (api) => api.call('trust.publish', { body: terms }));
    const [latest] = await this.casino.store.rollouts(true, 1);
    if (latest?.kind !== 'trust-bundle') throw new Error('no rollout of a trust bundle has begun');
    return latest.id;
  }

  async applyPolicy(document: string): Promise<void> {
    const before = await this.casino.store.currentPolicy();
    await this.casino.byTwo('ada', (api) =>
      api.call('policy.apply', { body: { document, replaces: before?.sha256 ?? null } }),
    );
  }

  async pause(id: RolloutId, reason: string): Promise<void> {
    await this.casino.byOne('grace', (api) => api.call('rollout.pause', { params: { id }, body: { reason } }));
  }

  async resume(id: RolloutId): Promise<void> {
    const body = { reason: 'looked at' };
    await this.casino.byTwo('grace', (api) => api.call('rollout.resume', { params: { id }, body }));
  }

  async abort(id: RolloutId, reason: string): Promise<void> {
    await this.casino.byOne('grace', (api) => api.call('rollout.abort', { params: { id }, body: { reason } }));
  }

  async retry(id: RolloutId, ...devices: readonly string[]): Promise<void> {
    const body = devices.length === 0 ? {} : { devices: named(devices) };
    await this.casino.byOne('grace', (api) => api.call('rollout.retry', { params: { id }, body }));
  }

  async exempt(id: RolloutId, reason: string, ...devices: readonly string[]): Promise<void> {
    const body = { devices: named(devices), reason };
    await this.casino.byOne('grace', (api) => api.call('rollout.exempt', { params: { id }, body }));
  }

  async signOff(id: RolloutId, reason: string, ...devices: readonly string[]): Promise<void> {
    const body = { devices: named(devices), reason };
    await this.casino.byTwo('grace', (api) => api.call('rollout.sign-off', { params: { id }, body }));
  }

  async retire(id: RolloutId): Promise<void> {
    await this.casino.byOne('grace', (api) => api.call('keyset.retire', { params: { id } }));
  }

  async destroy(id: RolloutId): Promise<void> {
    await this.casino.byTwo('ada', (api) => api.call('keyset.destroy', { params: { id } }));
  }

  async show(id: RolloutId): Promise<RolloutView> {
    return this.casino.as('grace', (api) => api.call('rollout.show', { params: { id } }));
  }

  /** Waits until the view of the rollout is as wanted, and returns it. */
  async until(id: RolloutId, isWanted: (view: RolloutView) => boolean): Promise<RolloutView> {
    return this.casino.until(
      async () => {
        const view = await this.show(id);
        return isWanted(view) && view;
      },
      async () => {
        const { state, pause, wave, progress, holds } = await this.show(id);
        return { state, pause, wave, progress, holds, targets: await this.states(id) };
      },
    );
  }

  async untilPaused(id: RolloutId, code: ErrorCode): Promise<RolloutView> {
    return this.until(id, ({ pause }) => pause?.code === code);
  }

  async untilTarget(id: RolloutId, device: string, ...states: readonly TargetState[]): Promise<void> {
    await this.casino.until(
      async () => {
        const state = (await this.states(id))[device];
        return state !== undefined && states.includes(state);
      },
      () => this.states(id),
    );
  }

  /** State of each target, by device. */
  async states(id: RolloutId): Promise<Readonly<Record<string, TargetState>>> {
    const targets = await this.casino.store.rolloutTargets(id, { limit: 1_000 });
    return Object.fromEntries(targets.map(({ device, state }) => [device, state]));
  }

  /** What became of one target, step by step, as an auditor reads it: `pending`, `offered`, `refused cms.…`. */
  async history(id: RolloutId, device: string): Promise<readonly string[]> {
    const steps = await this.casino.store.history({ rollout: id, device: DeviceId.parse(device) }, 0, 1_000);
    return steps.flatMap((step) => {
      if (step.kind === 'rollout') return [];
      return step.code === undefined ? step.to : `${step.to} ${step.code}`;
    });
  }

  /** Audit records about the rollout, oldest first. */
  async records(id: RolloutId): Promise<readonly AuditRecord[]> {
    return (await this.casino.auditRecords()).filter(({ object }) => object?.type === 'rollout' && object.id === id);
  }

  /** Actions on the rollout, oldest first. */
  async trail(id: RolloutId): Promise<readonly string[]> {
    return (await this.records(id)).map(({ action }) => action);
  }
}
