/** Certificates of the model: who holds which one until when. Nothing is signed. */
import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { renewalBefore, renewalTime } from '#agent/identity/renewal.ts';
import type { CertificateRecord } from '#gateway/ports/store/records.ts';
import { Serial, Sha256, type DeviceClass, type DeviceId } from '#schema/ids.ts';
import type { ClassPolicy, Policy } from '#schema/policy.ts';
import type { DeviceIdentity } from './device.ts';
import type { ModelNode } from './node.ts';
import type { World } from './world.ts';

const HOUR = 3_600_000;
/** An engineer looks at a parked request within this time. */
const APPROVAL_MS = [HOUR, 24 * HOUR] as const;
const ISSUER = 'device-ca';
const NO_BYTES = new Uint8Array(0);
const SERIAL_DIGITS = 16;

export function certificateOf(device: DeviceId, number: number, from: Date, validity: number): CertificateRecord {
  const digest = Sha256.parse(hash('sha256', `${device}/${number}`, 'hex'));
  return {
    serial: Serial.parse(digest.slice(0, SERIAL_DIGITS)),
    device,
    issuer: ISSUER,
    state: 'issued',
    csrSha256: digest,
    spkiSha256: digest,
    fingerprint: digest,
    tbs: NO_BYTES,
    der: Buffer.from(digest, 'hex'),
    notBefore: from,
    notAfter: new Date(from.getTime() + validity),
    createdAt: from,
    revokedAt: undefined,
  };
}

export const identityOf = ({ serial, notAfter, spkiSha256 }: CertificateRecord): DeviceIdentity => ({
  serial,
  notAfter: notAfter.toISOString(),
  keyFingerprint: spkiSha256,
});

const derOf = ({ der }: CertificateRecord): Uint8Array => der ?? NO_BYTES;

/** When the agent renews by itself. */
export const renewsAt = (certificate: CertificateRecord): number =>
  renewalTime({ der: derOf(certificate), notBefore: certificate.notBefore, notAfter: certificate.notAfter }).getTime();

/** When the agent renews if it is asked to. */
export const renewsIfAsked = (certificate: CertificateRecord, by: Date, now: Date): number =>
  renewalBefore(by, now, derOf(certificate)).getTime();

export function classOf(policy: Policy, name: DeviceClass): ClassPolicy | undefined {
  return policy.classes[name];
}

/**
 * What is done about the certificate before connecting. Within its time and the grace after it the device renews it by
 * itself; beyond that an engineer has to approve. Returns how long the device has to wait, 0 if it may connect.
 */
export function renewBeforeConnecting(world: World, policy: Policy, node: ModelNode, now: Date): number {
  const { state, agenda, device, stream } = node;
  const { identity } = state;
  const terms = classOf(policy, state.device.class);
  if (identity === undefined || terms === undefined || now.getTime() < agenda.renewAt) return 0;
  const isBeyondGrace = now.getTime() >= identity.notAfter.getTime() + terms.grace;
  if (isBeyondGrace && !node.isVouchedFor) {
    node.isVouchedFor = true;
    return stream.between(...APPROVAL_MS);
  }
  if (node.isVouchedFor) world.devices.resetHistory(node);
  node.isVouchedFor = false;
  node.certificates += 1;
  const issued = certificateOf(state.device.id, node.certificates, now, terms.validity);
  node.formerIdentity = identity;
  world.devices.promote(node, issued);
  device.identity = identityOf(issued);
  agenda.renewAt = renewsAt(issued);
  return 0;
}
