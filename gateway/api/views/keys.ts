/** Records of key sets, rollouts and trust bundles to their views. Pure; wrapped keys stay behind. */
import type {
  KeySetDetailView,
  KeySetView,
  KeyVersionView,
  RolloutSummaryView,
  RolloutTargetView,
  RolloutView,
  TrustBundleSummaryView,
  TrustBundleView,
} from '#schema/api/views.ts';
import type { FleetStore } from '#gateway/ports/store/fleet.ts';
import type { KeyVersionStore, RolloutDetail } from '#gateway/ports/store/keys.ts';
import type { KeySetRecord, KeyVersionRecord, RolloutRecord, TrustBundleRecord } from '#gateway/ports/store/records.ts';
import { activationHold } from '#gateway/rollout/decide.ts';
import { base64, instant, instantOrNull } from './encode.ts';

function keyVersionView(version: KeyVersionRecord): KeyVersionView {
  return {
    version: version.version,
    state: version.state,
    kcv: version.kcv,
    kek: version.kek,
    createdAt: instant(version.createdAt),
    activatedAt: instantOrNull(version.activatedAt),
    deactivatedAt: instantOrNull(version.deactivatedAt),
    retiredAt: instantOrNull(version.retiredAt),
    destroyedAt: instantOrNull(version.destroyedAt),
  };
}

export function keySetView(keySet: KeySetRecord): KeySetView {
  const active = keySet.versions.find(({ state }) => state === 'active');
  const since = active?.activatedAt;
  return {
    name: keySet.name,
    algorithm: keySet.algorithm,
    use: keySet.use,
    scope: keySet.scope,
    selector: keySet.selector,
    cryptoperiodMs: keySet.cryptoperiodMs,
    rotateBy: since === undefined ? null : instant(new Date(since.getTime() + keySet.cryptoperiodMs)),
    activeVersion: active?.version ?? null,
    revision: keySet.revision,
    createdAt: instant(keySet.createdAt),
    versions: keySet.versions.map(keyVersionView),
  };
}

export type VersionCounts = Awaited<ReturnType<FleetStore['versionCounts']>>;

export function keySetDetailView(keySet: KeySetRecord, counts: VersionCounts): KeySetDetailView {
  return { ...keySetView(keySet), devices: counts.map((count) => ({ ...count })) };
}

export function rolloutSummaryView(rollout: RolloutRecord): RolloutSummaryView {
  const { id, kind, keySet, fromVersion, toVersion, state, requestedBy } = rollout;
  return {
    id,
    kind,
    keySet,
    fromVersion,
    toVersion,
    state,
    requestedBy,
    createdAt: instant(rollout.createdAt),
    activatedAt: instantOrNull(rollout.activatedAt),
    retiredAt: instantOrNull(rollout.retiredAt),
    finishedAt: instantOrNull(rollout.finishedAt),
  };
}

export function rolloutView({ rollout, progress }: RolloutDetail): RolloutView {
  const hold = rollout.state === 'distributing' ? activationHold(progress) : undefined;
  return {
    ...rolloutSummaryView(rollout),
    progress: { ...progress, byState: { ...progress.byState } },
    hold: hold ?? null,
  };
}

type TargetRecord = Awaited<ReturnType<KeyVersionStore['rolloutTargets']>>[number];

export function rolloutTargetView(target: TargetRecord): RolloutTargetView {
  return {
    device: target.device,
    wave: target.wave,
    state: target.state,
    code: target.code ?? null,
    deferredUntil: instantOrNull(target.deferredUntil),
    offeredAt: instantOrNull(target.offeredAt),
    changedAt: instant(target.changedAt),
    connected: target.connected,
    lastSeenAt: instantOrNull(target.lastSeenAt),
  };
}

export function trustSummaryView({ version, sha256, body }: TrustBundleRecord): TrustBundleSummaryView {
  const anchors = Object.entries(body.anchors).map(([purpose, list]) => [purpose, list.length] as const);
  const { previous, issuedAt, expiresAt } = body;
  return { version, sha256, previous, issuedAt, expiresAt, anchors: Object.fromEntries(anchors) };
}

export function trustBundleView(bundle: TrustBundleRecord): TrustBundleView {
  return { ...trustSummaryView(bundle), body: bundle.body, cms: base64(bundle.der) };
}
