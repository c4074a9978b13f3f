/** Records of devices to their views. Pure. */
import type {
  CertificateView,
  DeviceDetailView,
  DeviceKeyVersionView,
  DeviceSummaryView,
  DeviceTargetView,
  EnrolmentView,
} from '#schema/api/views.ts';
import type { DeviceDetail, DeviceSummary } from '#gateway/ports/store/fleet.ts';
import type {
  CertificateRecord,
  DeviceKeyVersion,
  DeviceRecord,
  EnrolmentRequest,
  RolloutTarget,
} from '#gateway/ports/store/records.ts';
import { base64, base64OrNull, instant, instantOrNull } from './encode.ts';

export function deviceSummaryView({ device, connected, lastSeenAt, trustVersion }: DeviceSummary): DeviceSummaryView {
  const { id, class: deviceClass, site, serialNumber, labels, state } = device;
  return {
    id,
    class: deviceClass,
    site,
    serialNumber,
    labels: { ...labels },
    state: state.kind,
    stateCode: state.kind === 'quarantined' ? state.code : null,
    stateSince: instant(device.stateSince),
    connected,
    lastSeenAt: instantOrNull(lastSeenAt),
    trustVersion,
  };
}

function slotOf({ currentSerial, nextSerial }: DeviceRecord, serial: string): CertificateView['slot'] {
  if (serial === currentSerial) return 'current';
  return serial === nextSerial ? 'next' : null;
}

function certificateView(device: DeviceRecord, certificate: CertificateRecord): CertificateView {
  return {
    serial: certificate.serial,
    issuer: certificate.issuer,
    slot: slotOf(device, certificate.serial),
    state: certificate.state,
    fingerprint: certificate.fingerprint ?? null,
    spkiSha256: certificate.spkiSha256,
    notBefore: instant(certificate.notBefore),
    notAfter: instant(certificate.notAfter),
    createdAt: instant(certificate.createdAt),
    revokedAt: instantOrNull(certificate.revokedAt),
    // What was withheld is never released, not even to people.
    der: certificate.state === 'withheld' ? null : base64OrNull(certificate.der),
  };
}

function keyVersionView({ keySet, version, state, kcv, changedAt }: DeviceKeyVersion): DeviceKeyVersionView {
  return { keySet, version, state, kcv: kcv ?? null, changedAt: instant(changedAt) };
}

function targetView(target: RolloutTarget): DeviceTargetView {
  return {
    rollout: target.rollout,
    wave: target.wave,
    state: target.state,
    code: target.code ?? null,
    deferredUntil: instantOrNull(target.deferredUntil),
    offeredAt: instantOrNull(target.offeredAt),
    changedAt: instant(target.changedAt),
  };
}

export function deviceDetailView({ device, sync, versions, certificates, targets }: DeviceDetail): DeviceDetailView {
  return {
    ...deviceSummaryView({ ...sync, device }),
    createdAt: instant(device.createdAt),
    address: sync.address ?? null,
    agentVersion: sync.agentVersion ?? null,
    clockTrusted: sync.clockTrusted,
    lastReportAt: instantOrNull(sync.lastReportAt),
    seq: sync.seq,
    lastSeq: sync.lastSeq,
    dueAt: instantOrNull(sync.dueAt),
    attempts: sync.attempts,
    certificates: certificates.map((certificate) => certificateView(device, certificate)),
    keys: versions.map(keyVersionView),
    targets: targets.map(targetView),
  };
}

export function enrolmentView(request: EnrolmentRequest): EnrolmentView {
  return {
    id: request.id,
    device: request.device ?? null,
    reason: request.reason,
    source: request.source ?? null,
    state: request.state,
    requestedAt: instant(request.requestedAt),
    decidedAt: instantOrNull(request.decidedAt),
    decidedBy: request.decidedBy ?? null,
    csrSha256: request.csrSha256,
    csr: base64(request.csr),
  };
}
