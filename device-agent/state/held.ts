/** The state as a running agent holds it: committed before it counts, and shown to applications as an AgentView. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { materialOf } from '../identity/material.ts';
import { readBundle, type ReadBundle } from '../trust/bundle.ts';
import type { AgentChange, AgentView, IdentityView, KeyringView } from '../view.ts';
import type { AgentState, HeldKeyring, HeldVersion } from './state.ts';
import type { StateStore } from './store.ts';

type ChangeListener = (change: AgentChange, generation: number) => void;

/** A keyring changed if anything that an application sees did. */
const isSame = (a: HeldKeyring | undefined, b: HeldKeyring): boolean =>
  a !== undefined &&
  a.revision === b.revision &&
  a.active === b.active &&
  a.versions.length === b.versions.length &&
  a.versions.every((version, index) => version === b.versions[index]) &&
  a.accept.length === b.accept.length &&
  a.accept.every((version, index) => version === b.accept[index]);

function changesBetween(before: AgentState | undefined, after: AgentState): AgentChange[] {
  const changes: AgentChange[] = [];
  const { current } = after.identities;
  if (current !== undefined && current !== before?.identities.current) {
    changes.push({ kind: 'identity', serial: materialOf(current).serial });
  }
  if (after.trust !== undefined && after.trust.version !== before?.trust?.version) {
    changes.push({ kind: 'trust', version: after.trust.version });
  }
  for (const keyring of after.keyrings) {
    const { keySet, revision, active } = keyring;
    const old = before?.keyrings.find((one) => one.keySet === keySet);
    if (!isSame(old, keyring)) changes.push({ kind: 'keyring', keySet, revision, active });
  }
  return changes;
}

/** Versions whose bytes are no longer held. */
function erased(before: AgentState | undefined, after: AgentState): HeldVersion[] {
  const kept = new Set(after.keyrings.flatMap(({ versions }) => versions.map(({ key }) => key)));
  return (before?.keyrings ?? []).flatMap(({ versions }) => versions.filter(({ key }) => !kept.has(key)));
}

function keyringView(keyring: HeldKeyring): KeyringView {
  const { keySet, revision, active, versions } = keyring;
  return {
    keySet,
    revision,
    active,
    // While an activation is deferred the version in use is accepted, whatever comes after.
    accept: versions.flatMap(({ version, state }) => (state === 'retired' ? [] : [version])),
    versions: versions.map(({ version, state, algorithm, use, kcv }) => ({ version, state, algorithm, use, kcv })),
  };
}

export class HeldState {
  private readonly store: StateStore;
  private readonly listeners = new Set<ChangeListener>();
  private state: AgentState | undefined;
  private isClosed = false;

  constructor(store: StateStore) {
    this.store = store;
  }

  async load(): Promise<AgentState | undefined> {
    this.isClosed = false;
    this.state = await this.store.load();
    return this.state;
  }

  get current(): AgentState {
    if (this.state === undefined) throw new CroupierError('agent.not-enrolled', 'the agent has not been started');
    return this.state;
  }

  get ifAny(): AgentState | undefined {
    return this.state;
  }

  /** Nothing is committed any more. */
  close(): void {
    this.isClosed = true;
  }

  /** The trust bundle held, read. */
  get bundle(): ReadBundle | undefined {
    return this.state?.trust === undefined ? undefined : readBundle(this.state.trust.bundle);
  }

  /**
   * Makes `next` durable, then current, then erases keys that are no longer held and tells who listens. One at a time:
   * the agent's queue sees to that. Errors: `store.unavailable`; then nothing has changed here.
   */
  async commit(next: AgentState): Promise<void> {
    if (this.isClosed) throw new CroupierError('store.unavailable', 'the agent has been stopped');
    const before = this.state;
    const after = { ...next, generation: (before?.generation ?? 0) + 1 };
    await this.store.commit(after);
    this.state = after;
    for (const { key } of erased(before, after)) key.fill(0);
    for (const change of changesBetween(before, after)) {
      for (const listener of this.listeners) listener(change, after.generation);
    }
  }

  readonly view: AgentView = {
    identity: () => this.identityView(),
    trust: () => {
      const { bundle } = this;
      if (bundle === undefined) return undefined;
      const { version, expiresAt } = bundle.body;
      return { version, expiresAt: new Date(expiresAt), anchors: bundle.anchors, bundle: bundle.der };
    },
    keyrings: () => (this.state?.keyrings ?? []).map(keyringView),
    keyBytes: (keySet, version) => {
      const keyring = this.state?.keyrings.find((one) => one.keySet === keySet);
      const held = keyring?.versions.find((one) => one.version === version);
      return held === undefined || held.state === 'retired' ? undefined : Buffer.from(held.key);
    },
    generation: () => this.state?.generation ?? 0,
    onChange: (listener) => {
      this.listeners.add(listener);
      return () => this.listeners.delete(listener);
    },
  };

  private identityView(): IdentityView | undefined {
    const slot = this.state?.identities.current;
    if (this.state === undefined || slot === undefined) return undefined;
    const { realm, device } = this.state.registration;
    const { serial, notBefore, notAfter, privateKey } = materialOf(slot);
    const { certificate, chain } = slot;
    return { realm, device, serial, notBefore, notAfter, certificate, chain, privateKey };
  }
}
