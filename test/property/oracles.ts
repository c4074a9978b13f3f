/** What must hold at every moment of a run (D§11), looked at wherever something crosses a port. */
import { Buffer } from 'node:buffer';
import type { AgentState, HeldKeyring } from '#agent/state/state.ts';
import type { RolloutOutcome } from '#gateway/ports/store/rollouts.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { parseSignedData } from '#pki/cms/verify.ts';
import type { DeviceId, KeySetName } from '#schema/ids.ts';
import { Report } from '#schema/messages/report.ts';
import { Update } from '#schema/messages/update.ts';
import { isService, WALLET } from './floor-template.ts';
import type { FloorWorld } from './floor-world.ts';

interface Proved {
  readonly lastSeq: number;
  readonly trustVersion: number;
  readonly counter: number;
  /** `keySet/version` of what it said it holds. */
  readonly held: readonly string[];
}

function bodyOf(der: Uint8Array): unknown {
  return JSON.parse(Buffer.from(parseSignedData(der, { maxBytes: 1_000_000 }).content).toString('utf8'));
}

const ringOf = (state: AgentState, keySet: KeySetName): HeldKeyring | undefined =>
  state.keyrings.find((ring) => ring.keySet === keySet);

export class Oracles {
  world: FloorWorld | undefined;
  readonly violations: string[] = [];
  /** Updates and trust links handed to the broker for each device. */
  readonly sent = new Map<string, { updates: number; links: number }>();
  /** Devices that an operator has contained, or has released and that have not caught up since. */
  private readonly apart = new Map<DeviceId, 'contained' | 'released'>();
  private readonly activated = new Set<string>();
  private walletActive = 1;
  private readonly proved = new Map<DeviceId, Proved>();
  private readonly published = new Map<DeviceId, number>();

  throwIfBroken(): void {
    if (this.violations.length > 0) throw new Error(this.violations.slice(0, 3).join('\n'));
  }

  /** The answer of a store call; what it says is durable. */
  storeAnswered(name: string, result: unknown): void {
    if (name === 'advanceRollout') this.advanced(result as RolloutOutcome);
    if (name === 'recordReports' && Array.isArray(result)) {
      for (const outcome of result as ({ kind: string; code?: string } | undefined)[]) {
        if (outcome?.kind === 'quarantine') this.fail(`an honest device was quarantined: ${outcome.code ?? ''}`);
      }
    }
  }

  /** I4, the gateway's side: whatever it acted on is still known after its end. I6: what is active stays so. */
  async gatewayStarts(store: Store): Promise<void> {
    for (const [device, seq] of this.published) {
      const known = (await store.device(device))?.sync.seq ?? 0;
      this.check(known >= seq, `I4: the gateway sent ${device} update ${seq} and knows only of ${known}`);
    }
    for (const { name, versions } of await store.keySets()) {
      for (const version of versions) if (version.state === 'active') this.activated.add(`${name}/${version.version}`);
      for (const { version, state } of versions) {
        this.check(
          !this.activated.has(`${name}/${version}`) || state !== 'pre-activation',
          `I4: ${name}/${version} was active and is ${state}`,
        );
      }
    }
  }

  gatewayPublishes(topic: string, payload: Uint8Array): void {
    const [, , device = '', kind] = topic.split('/');
    if (kind !== 'update' && kind !== 'trust') return;
    const count = this.sent.get(device) ?? { updates: 0, links: 0 };
    this.sent.set(device, count);
    if (kind === 'trust') return void (count.links += 1);
    count.updates += 1;
    const update = Update.parse(bodyOf(payload));
    const before = this.published.get(update.device) ?? 0;
    this.check(update.seq > before, `I5: ${device} gets update ${update.seq} after ${before}`);
    this.published.set(update.device, update.seq);
    for (const { keySet, active } of update.keyrings) {
      this.check(
        active === null || this.activated.has(`${keySet}/${active}`),
        `I6: update ${update.seq} activates ${keySet}/${active} too early`,
      );
    }
  }

  /** I4, the device's side. */
  devicePublishes(device: DeviceId, payload: Uint8Array): void {
    const { lastSeq, trustVersion, counter, keyrings } = Report.parse(bodyOf(payload));
    const before = this.proved.get(device);
    if (before !== undefined && before.counter >= counter) return;
    const held = keyrings.flatMap(({ keySet, versions }) =>
      versions.flatMap(({ version, state }) => (state === 'destroyed' ? [] : [`${keySet}/${version}`])),
    );
    this.proved.set(device, { lastSeq, trustVersion, counter, held });
  }

  deviceStarts(device: DeviceId, state: AgentState): void {
    const proved = this.proved.get(device);
    if (proved === undefined) return;
    this.check(state.lastSeq >= proved.lastSeq, `I4: ${device} forgot update ${proved.lastSeq}`);
    this.check(
      (state.trust?.version ?? 0) >= proved.trustVersion,
      `I4: ${device} forgot trust bundle ${proved.trustVersion}`,
    );
    this.check(state.report.counter >= proved.counter, `I4: ${device} forgot report ${proved.counter}`);
    for (const name of proved.held) {
      const known = state.keyrings.some(({ keySet, versions, destroyed }) =>
        [...versions, ...destroyed].some(({ version }) => `${keySet}/${version}` === name),
      );
      this.check(known, `I4: ${device} reported ${name} and lost it`);
    }
  }

  deviceCommits(device: DeviceId, before: AgentState, after: AgentState): void {
    this.check(after.lastSeq >= before.lastSeq, `I5: ${device} went from update ${before.lastSeq} to ${after.lastSeq}`);
    this.check(
      (after.trust?.version ?? 0) >= (before.trust?.version ?? 0),
      `I5: ${device} went back to trust bundle ${after.trust?.version}`,
    );
    this.check(after.report.counter >= before.report.counter, `I5: ${device} counts reports backwards`);
    for (const ring of after.keyrings) this.keyringHolds(device, ringOf(before, ring.keySet), ring);
    this.floorAgrees();
  }

  private keyringHolds(device: DeviceId, before: HeldKeyring | undefined, after: HeldKeyring): void {
    const { keySet, active, versions, destroyed } = after;
    this.check(
      after.revision >= (before?.revision ?? 0),
      `I5: ${device} went back to revision ${after.revision} of ${keySet}`,
    );
    for (const { version } of before?.destroyed ?? []) {
      this.check(
        destroyed.some((one) => one.version === version),
        `I5: ${device} forgot that ${keySet}/${version} is destroyed`,
      );
    }
    for (const { version } of versions) {
      this.check(
        !destroyed.some((one) => one.version === version),
        `I5: ${device} holds ${keySet}/${version}, which was destroyed`,
      );
    }
    this.check(
      active === null || this.activated.has(`${keySet}/${active}`),
      `I6: ${device} uses ${keySet}/${active} before its activation`,
    );
  }

  operatorMoves(device: DeviceId, how: 'contained' | 'released'): void {
    if (how === 'contained' || this.apart.has(device)) this.apart.set(device, how);
  }

  /** I6: what any device uses for new work, every service that takes part accepts. */
  private floorAgrees(): void {
    const rings = [...(this.world?.devices.values() ?? [])].flatMap(({ id, state }) => {
      const ring = ringOf(state, WALLET);
      if (this.apart.get(id) === 'released' && ring?.active === this.walletActive) this.apart.delete(id);
      return ring === undefined || ring.active === null || this.apart.has(id)
        ? []
        : [{ id, active: ring.active, versions: ring.versions }];
    });
    for (const service of rings.filter(({ id }) => isService(id))) {
      const accepted = service.versions.filter(({ state }) => state !== 'retired').map(({ version }) => version);
      for (const { id, active } of rings)
        this.check(accepted.includes(active), `I6: ${id} uses ${WALLET}/${active}, which ${service.id} refuses`);
    }
  }

  private advanced(outcome: RolloutOutcome): void {
    if (outcome.kind !== 'advance') return;
    const keySet = outcome.audit[0]?.details?.['keySet'];
    for (const { version, state } of outcome.versions) {
      if (state !== 'active') continue;
      this.activated.add(`${String(keySet)}/${version}`);
      if (keySet === WALLET) this.walletActive = version;
    }
  }

  private check(holds: boolean, what: string): void {
    if (!holds) this.fail(what);
  }

  private fail(what: string): void {
    this.violations.push(what);
  }
}
