/** Records of key sets and trust bundles to their views. Pure; wrapped keys stay behind. */
import type {
  KeySetDetailView,
  KeySetView,
  KeyVersionView,
  RotationView,
  TrustBundleSummaryView,
  TrustBundleView,
} from '#schema/api/views.ts';
import type { FleetStore } from '#gateway/ports/store/fleet.ts';
import type { KeySetRecord, KeyVersionRecord, TrustBundleRecord } from '#gateway/ports/store/records.ts';
import type { RotationStanding } from '#gateway/rollout/cryptoperiod.ts';
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
    compromisedAt: instantOrNull(version.compromisedAt),
    destroyedAt: instantOrNull(version.destroyedAt),
  };
}

function rotationView({ state, dueAt, endsAt, start, plan }: RotationStanding): RotationView {
  return { state, dueAt: instantOrNull(dueAt), endsAt: instantOrNull(endsAt), start, plan };
}

export function keySetView(keySet: KeySetRecord, rotation: RotationStanding): KeySetView {
  return {
    name: keySet.name,
    algorithm: keySet.algorithm,
    use: keySet.use,
    scope: keySet.scope,
    selector: keySet.selector,
    cryptoperiodMs: keySet.cryptoperiodMs,
    rotateBy: instantOrNull(rotation.endsAt),
    rotation: rotationView(rotation),
    activeVersion: rotation.version ?? null,
    revision: keySet.revision,
    createdAt: instant(keySet.createdAt),
    versions: keySet.versions.map(keyVersionView),
  };
}

export type VersionCounts = Awaited<ReturnType<FleetStore['versionCounts']>>;

export function keySetDetailView(
  keySet: KeySetRecord,
  rotation: RotationStanding,
  counts: VersionCounts,
): KeySetDetailView {
  return { ...keySetView(keySet, rotation), devices: counts.map((count) => ({ ...count })) };
}

export function trustSummaryView({ version, sha256, body }: TrustBundleRecord): TrustBundleSummaryView {
  const anchors = Object.entries(body.anchors).map(([purpose, list]) => [purpose, list.length] as const);
  const { previous, issuedAt, expiresAt } = body;
  return { version, sha256, previous, issuedAt, expiresAt, anchors: Object.fromEntries(anchors) };
}

export function trustBundleView(bundle: TrustBundleRecord): TrustBundleView {
  return { ...trustSummaryView(bundle), body: bundle.body, cms: base64(bundle.der) };
}
