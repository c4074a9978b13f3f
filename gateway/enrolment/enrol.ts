/** Enrolment as a use case: parse, decide and record the intent, sign in the HSM, check, record, release. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { checkIssued } from '#pki/certificate/invariants.ts';
import type { Issuer } from '#pki/certificate/issuer.ts';
import { validityWithin } from '#pki/certificate/issue.ts';
import { lintTbs, signTbs, type LintedTbs } from '#pki/certificate/lint.ts';
import { validateChain } from '#pki/certificate/chain.ts';
import { certificateFingerprint, parseCertificate, parseTbs } from '#pki/certificate/parse.ts';
import { OID } from '#pki/der/oid.ts';
import { certificateProfile } from '#pki/certificate/profile.ts';
import { serialNumberFrom, serialNumberHex } from '#pki/certificate/serial-number.ts';
import { deviceUri } from '#pki/certificate/device-uri.ts';
import { buildTbs, crlUrlOf, type TbsRequest } from '#pki/certificate/tbs.ts';
import { checkKeyType, checkPublicKey, verifyProofOfPossession } from '#pki/csr/check.ts';
import { parseCsr, type ParsedCsr } from '#pki/csr/parse.ts';
import { KEY_ALGORITHMS, type Signer } from '#pki/keys/signer.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import { DeviceId, Serial, Sha256, type DeviceClass, type Realm } from '#schema/ids.ts';
import type { ClassPolicy, Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { Metrics } from '#gateway/ports/metrics.ts';
import type { CertificateIntent, CertificateRecord, DeviceRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { decideEnrolment, type Credential } from './decide.ts';

export interface EnrolmentPorts {
  readonly realm: Realm;
  /** Organisation in certificates. */
  readonly operator: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly policy: () => Policy;
  /** The Device CA that issues: its certificate, its key in the HSM, the label of that key. */
  readonly authority: () => IssuingAuthority;
  /** When the CA of this key was withdrawn: its certificates count as expired from then on. */
  readonly withdrawnAt?: (issuer: string) => Date | undefined;
  /** Device CAs, DER: a certificate that one of them signed and that has no record is not a stranger's. */
  readonly clientCas?: () => readonly Uint8Array[];
  /** URL of the CRL of the CA with this key, for the certificates that it issues. */
  readonly crlUrl: (issuer: string) => string | undefined;
}

interface IssuingAuthority {
  readonly issuer: Issuer;
  readonly signer: Signer;
  readonly keyLabel: string;
}

export interface EnrolmentInput {
  readonly operation: 'simpleenroll' | 'simplereenroll';
  /** The EST label, a class of the policy: the device must be of this class. */
  readonly label: DeviceClass | undefined;
  /** PKCS#10, DER. */
  readonly csr: Uint8Array;
  readonly credential:
    | { readonly kind: 'none' }
    | { readonly kind: 'ticket'; readonly user: string; readonly code: string }
    /** DER; TLS has proved possession of its key. */
    | { readonly kind: 'certificate'; readonly certificate: Uint8Array };
  readonly source: string | undefined;
  /** Values that a challengePassword may have to bind the request to its TLS connection (RFC 7030, 3.5; RFC 9266). */
  readonly channelBindings: readonly string[];
}

export type EnrolmentAnswer =
  /** DER of the one certificate issued. */
  | { readonly kind: 'issued'; readonly certificate: Uint8Array; readonly device: DeviceId }
  /** Seconds until the client may ask again; `parked`: with this very request the wait began. */
  | { readonly kind: 'pending'; readonly retryAfter: number; readonly parked: boolean };

/** Backdating for devices whose clock is late. */
const BACKDATE_SECONDS = 300;

/** A challengePassword, where there is one, must be a binding of this connection. */
function checkChannelBinding(csr: ParsedCsr, bindings: readonly string[]): void {
  const offered = csr.challengePassword;
  if (offered === undefined || offered === '') return;
  const given = Buffer.from(offered, 'utf8');
  const bound = bindings.some((binding) => {
    const expected = Buffer.from(binding, 'utf8');
    return expected.length === given.length && timingSafeEqual(expected, given);
  });
  if (!bound) throw new CroupierError('csr.channel-binding-mismatch');
}

/** The device that a certificate is for, by its own word. */
function presentedName(certificate: Uint8Array): DeviceId | undefined {
  try {
    return DeviceId.safeParse(parseCertificate(certificate).subjectName.commonName).data;
  } catch {
    return undefined;
  }
}

/** Serial number of a certificate that is valid now and that one of `anchors` (DER) signed. */
function serialIfOurs(certificate: Uint8Array, anchors: readonly Uint8Array[], now: Date): string | undefined {
  try {
    validateChain(certificate, [], { anchors, at: now, extendedKeyUsage: OID.clientAuth });
    return parseCertificate(certificate).serialNumber;
  } catch {
    return undefined;
  }
}

interface Prepared {
  readonly request: TbsRequest & { readonly issuer: Issuer };
  readonly token: LintedTbs;
  /** Of the CA that the request names, whichever may issue by the time it is signed. */
  readonly signer: Signer;
}

function tbsRequest(
  ports: Pick<EnrolmentPorts, 'realm' | 'operator'>,
  issuer: Issuer,
  csr: ParsedCsr,
  device: DeviceRecord,
  fixed: { serialNumber: Uint8Array; notBefore: Date; notAfter: Date; crlUrl: string | undefined },
): Prepared['request'] {
  const { crlUrl, ...others } = fixed;
  return {
    profile: certificateProfile('device'),
    issuer,
    ...others,
    subject: { commonName: device.id, organizationalUnit: device.class, organization: ports.operator },
    spki: csr.spki,
    subjectAltNames: [
      { type: 'uri', value: deviceUri({ realm: ports.realm, site: device.site, class: device.class, id: device.id }) },
    ],
    ...(crlUrl === undefined ? {} : { crlUrl }),
  };
}

export function createEnrolment(ports: EnrolmentPorts): (input: EnrolmentInput) => Promise<EnrolmentAnswer> {
  const { store, clock, random, metrics, log } = ports;

  /** Signs a recorded intent, checks the outcome, records and returns it. */
  const release = async (serial: Serial, tbs: Uint8Array, prepared: Prepared): Promise<Uint8Array> => {
    const { request, token, signer } = prepared;
    let der: Uint8Array;
    try {
      der = await signTbs(token, signer);
    } catch (error) {
      metrics.enrolments('failed');
      throw error;
    }
    try {
      checkIssued(der, { tbs, issuer: request.issuer, spki: request.spki });
    } catch (error) {
      await store.withholdCertificate(serial, {
        action: 'certificate.withhold',
        outcome: 'error',
        code: errorCode(error),
        actor: { type: 'gateway', id: 'enrolment' },
        object: { type: 'certificate', id: serial },
      });
      throw error;
    }
    const fingerprint = Sha256.parse(certificateFingerprint(der));
    const record = await store.completeCertificate(serial, der, fingerprint, clock.now(), {
      action: 'certificate.issue',
      outcome: 'success',
      actor: { type: 'gateway', id: 'enrolment' },
      object: { type: 'certificate', id: serial },
      details: { fingerprint },
    });
    return record.der ?? der;
  };

  /** An intent that a crash left unsigned is built again; only the very same bytes may be signed. */
  const resume = (csr: ParsedCsr, device: DeviceRecord, record: CertificateRecord): Prepared => {
    const fields = parseTbs(record.tbs);
    const { issuer, signer } = ports.authority();
    // As recorded, not as configured now: another port of the public listener must not make the intent unsignable.
    const request = tbsRequest(ports, issuer, csr, device, {
      crlUrl: crlUrlOf(fields),
      serialNumber: Buffer.from(record.serial, 'hex'),
      notBefore: fields.notBefore,
      notAfter: fields.notAfter,
    });
    if (Buffer.compare(buildTbs(request), record.tbs) !== 0) {
      throw new CroupierError(
        'certificate.lint-failed',
        'the recorded intent no longer fits the profile; a new ticket is needed',
      );
    }
    return { request, token: lintTbs(record.tbs, request), signer };
  };

  /** What the request must show before anybody is asked about it; its refusals are on record, too. */
  const checkRequest = async (input: EnrolmentInput): Promise<ParsedCsr> => {
    try {
      const csr = parseCsr(input.csr);
      verifyProofOfPossession(csr);
      checkPublicKey(csr.spki, KEY_ALGORITHMS);
      checkChannelBinding(csr, input.channelBindings);
      return csr;
    } catch (error) {
      if (!(error instanceof CroupierError)) throw error;
      const { operation, source, credential } = input;
      log.warn({ code: error.code, source }, `enrolment refused: ${error.message}`);
      metrics.enrolments('refuse');
      await store.appendAudit(
        [
          {
            action: `enrolment.${operation}`,
            outcome: 'denied',
            code: error.code,
            actor: { type: 'anonymous', id: source ?? 'unknown' },
            ...(source === undefined ? {} : { source }),
            object: { type: 'csr', id: createHash('sha256').update(input.csr).digest('hex') },
            details: { credential: credential.kind },
          },
        ],
        clock.now(),
      );
      throw error;
    }
  };

  return async (input) => {
    const csr = await checkRequest(input);
    const now = clock.now();
    const csrSha256 = Sha256.parse(createHash('sha256').update(csr.der).digest('hex'));
    const spkiSha256 = Sha256.parse(createHash('sha256').update(csr.spki).digest('hex'));
    const { credential: given } = input;
    const commonName = csr.subjectName.commonName;
    const named = given.kind === 'ticket' ? given.user : commonName;
    const claimed = DeviceId.safeParse(named).data;
    const credential: Credential =
      given.kind === 'certificate'
        ? { kind: 'certificate', fingerprint: Sha256.parse(certificateFingerprint(given.certificate)) }
        : given;

    let prepared: Prepared | undefined;
    const prepare = (device: DeviceRecord, profile: ClassPolicy): CertificateIntent => {
      checkKeyType(csr.spki, profile.keyTypes);
      const serialNumber = serialNumberFrom(random.bytes(16));
      const { issuer, signer, keyLabel } = ports.authority();
      const validity = validityWithin(issuer, {
        now,
        days: profile.validity / 86_400_000,
        backdateSeconds: Math.min(BACKDATE_SECONDS, Math.floor(profile.validity / 10_000)),
      });
      const crlUrl = ports.crlUrl(keyLabel);
      const request = tbsRequest(ports, issuer, csr, device, { serialNumber, ...validity, crlUrl });
      const tbs = buildTbs(request);
      prepared = { request, token: lintTbs(tbs, request), signer };
      return {
        freshStart: given.kind !== 'certificate',
        serial: Serial.parse(serialNumberHex(serialNumber)),
        device: device.id,
        issuer: keyLabel,
        csrSha256,
        spkiSha256,
        tbs,
        ...validity,
        createdAt: now,
      };
    };

    let device: DeviceRecord | undefined;
    let firstUse: Serial | undefined;
    const outcome = await store.decideEnrolment(
      {
        device: given.kind === 'certificate' ? presentedName(given.certificate) : claimed,
        csrSha256,
        spkiSha256,
        presented: credential.kind === 'certificate' ? credential.fingerprint : undefined,
      },
      (state) => {
        device = state.device;
        firstUse =
          state.presented !== undefined && state.presented.serial === device?.nextSerial
            ? state.presented.serial
            : undefined;
        return decideEnrolment(
          {
            operation: input.operation,
            credential,
            label: input.label,
            claimed,
            commonName,
            csr: csr.der,
            csrSha256,
            requestId: random.uuid(),
            source: input.source,
            now,
            policy: ports.policy(),
            withdrawnAt: ports.withdrawnAt ?? (() => undefined),
            unrecorded: () =>
              given.kind === 'certificate'
                ? serialIfOurs(given.certificate, ports.clientCas?.() ?? [], now)
                : undefined,
            prepare,
          },
          state,
        );
      },
    );
    metrics.enrolments(outcome.kind);
    // The certificate to come takes the slot of the next identity; the one in use must not fall out of both.
    if (firstUse !== undefined && (outcome.kind === 'issue' || outcome.kind === 'repeat'))
      await store.promoteCertificate(firstUse, now);
    switch (outcome.kind) {
      case 'issue': {
        if (prepared === undefined)
          throw new CroupierError('internal.unexpected', 'an intent was recorded that was not prepared');
        const certificate = await release(outcome.intent.serial, outcome.intent.tbs, prepared);
        return { kind: 'issued', certificate, device: outcome.intent.device };
      }
      case 'repeat': {
        const { certificate: record } = outcome;
        if (record.der !== undefined) return { kind: 'issued', certificate: record.der, device: record.device };
        if (device === undefined) throw new CroupierError('device.not-found');
        return {
          kind: 'issued',
          certificate: await release(record.serial, record.tbs, resume(csr, device, record)),
          device: record.device,
        };
      }
      case 'park':
        log.info(
          { request: outcome.request.id, device: outcome.request.device, source: input.source },
          'enrolment parked: it waits for a device engineer',
        );
        return { kind: 'pending', retryAfter: outcome.retryAfter, parked: true };
      case 'wait':
        return { kind: 'pending', retryAfter: outcome.retryAfter, parked: false };
      case 'refuse':
        log.warn(
          { code: outcome.error.code, device: claimed, source: input.source },
          `enrolment refused: ${outcome.error.message}`,
        );
        throw outcome.error;
    }
  };
}
