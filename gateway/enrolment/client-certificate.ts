/**
 * The one judgement about a client certificate, for EST and MQTT alike: is it a record of ours, still the device's, and
 * still good. Pure; the use case promotes the next identity on its first use.
 */
import type { ErrorCode } from '#schema/errors.ts';
import { Sha256 } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import type { ClientAuthorizer } from '#gateway/ports/broker.ts';
import type { Metrics } from '#gateway/ports/metrics.ts';
import type { CertificateRecord, DeviceRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';

export type ClientJudgement = { readonly good: true } | { readonly good: false; readonly code: ErrorCode };

const bad = (code: ErrorCode): ClientJudgement => ({ good: false, code });

/**
 * `graceMs`: how long after its end the certificate still serves (for renewal only). `withdrawnAt`: when its CA was
 * withdrawn, which ends it, too. notBefore, revocation, inventory and slot are judged each for itself, so that a grace
 * never opens another door.
 */
export function judgeClientCertificate(
  certificate: CertificateRecord,
  device: DeviceRecord,
  now: Date,
  graceMs: number,
  withdrawnAt: Date | undefined,
): ClientJudgement {
  if (certificate.device !== device.id) return bad('certificate.unknown');
  if (certificate.state === 'revoked') return bad('certificate.revoked');
  if (certificate.state !== 'issued') return bad('certificate.unknown');
  if (device.state.kind === 'revoked') return bad('certificate.revoked');
  if (device.state.kind === 'quarantined') return bad('enrolment.quarantined');
  if (certificate.serial !== device.currentSerial && certificate.serial !== device.nextSerial)
    return bad('certificate.superseded');
  if (now < certificate.notBefore) return bad('certificate.not-yet-valid');
  const end = Math.min(certificate.notAfter.getTime(), withdrawnAt?.getTime() ?? Infinity);
  if (now.getTime() > end + graceMs) return bad('certificate.expired');
  return { good: true };
}

/** The broker's authorizer: a valid certificate of this very device, and the client id is its name. */
export function createClientAuthorizer(
  store: Store,
  clock: Clock,
  metrics: Metrics,
  withdrawnAt: (issuer: string) => Date | undefined = () => undefined,
): ClientAuthorizer {
  return async ({ certificate, clientId }) => {
    const found = await store.certificateByFingerprint(Sha256.parse(certificateFingerprint(certificate)));
    const now = clock.now();
    const judgement =
      found === undefined
        ? bad('certificate.unknown')
        : judgeClientCertificate(found.certificate, found.device, now, 0, withdrawnAt(found.certificate.issuer));
    if (found === undefined || !judgement.good) {
      metrics.connections('denied');
      return { allowed: false, code: judgement.good ? 'certificate.unknown' : judgement.code };
    }
    if (found.device.id !== clientId) {
      metrics.connections('denied');
      return { allowed: false, code: 'message.wrong-device' };
    }
    if (found.certificate.serial === found.device.nextSerial)
      await store.promoteCertificate(found.certificate.serial, now);
    metrics.connections('allowed');
    return { allowed: true, device: found.device.id, serial: found.certificate.serial };
  };
}
