/** From the bytes on a report topic to a verified report. */
import { createHash } from 'node:crypto';
import {
  parseSignedData,
  prepareSignerCertificate,
  verifyParsedBy,
  type ParsedSignedData,
  type SignerCertificate,
} from '#pki/cms/verify.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { CroupierError } from '#schema/errors.ts';
import { Sha256, type Realm } from '#schema/ids.ts';
import { MAX_MESSAGE_BYTES, MESSAGE_VERSION, MessageHead } from '#schema/messages/common.ts';
import { Report } from '#schema/messages/report.ts';
import { parseJson, parseWith } from '#schema/parse.ts';
import type { ReportArrival } from '#gateway/ports/broker.ts';
import type { VerifiedReport } from '#gateway/ports/store/delivery.ts';
import type { CertificateRecord } from '#gateway/ports/store/records.ts';

export interface KnownSigner {
  readonly certificate: VerifiedReport['certificate'];
  readonly prepared: SignerCertificate;
}

/** Certificates of devices by fingerprint, ready to verify with; bounded, oldest out first. */
export class SignerCache {
  private readonly entries = new Map<string, KnownSigner>();
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  get(fingerprint: string): KnownSigner | undefined {
    return this.entries.get(fingerprint);
  }

  add(fingerprint: string, certificate: CertificateRecord, der: Uint8Array): KnownSigner {
    const { serial, device, state, issuer, createdAt } = certificate;
    const known = {
      certificate: { serial, device, state, issuer, createdAt },
      prepared: prepareSignerCertificate(der),
    };
    if (this.entries.size >= this.limit) {
      const oldest = this.entries.keys().next();
      if (oldest.done !== true) this.entries.delete(oldest.value);
    }
    this.entries.set(fingerprint, known);
    return known;
  }
}

export interface ClaimedReport {
  readonly message: ParsedSignedData;
  /** Fingerprint of the one certificate that the message says it is signed with. */
  readonly signer: Sha256;
}

/** Reads the message. Nothing is verified. Errors: `message.malformed`, `input.too-large`. */
export function readClaim(payload: Uint8Array): ClaimedReport {
  const message = parseSignedData(payload, { maxBytes: MAX_MESSAGE_BYTES });
  const [signer, ...more] = message.signers;
  if (signer?.certificate === undefined || more.length > 0) {
    throw new CroupierError('message.malformed', 'a report has one signer and carries its certificate');
  }
  return { message, signer: Sha256.parse(certificateFingerprint(signer.certificate)) };
}

/**
 * Verifies the signature with a certificate that we issued, then reads the body. On return: the signature holds, realm
 * and device are right. Not decided: whether the certificate is still the device's, whether the report is new.
 * Errors: `message.malformed`, `message.signature-invalid`, `message.wrong-realm`, `message.wrong-device`,
 * `message.version-unsupported`.
 */
export function verifyReport(
  realm: Realm,
  arrival: ReportArrival,
  message: ParsedSignedData,
  signer: KnownSigner,
  receivedAt: Date,
): VerifiedReport {
  const content = verifyParsedBy(message, signer.prepared);
  const text = Buffer.from(content.buffer, content.byteOffset, content.length).toString('utf8');
  const head = parseJson(MessageHead, text, 'message.malformed', 'report');
  if (head.v !== MESSAGE_VERSION)
    throw new CroupierError('message.version-unsupported', `the report has version ${head.v}`);
  const report = parseWith(Report, head, 'message.malformed', 'report');
  if (report.realm !== realm) throw new CroupierError('message.wrong-realm', `the report is of realm ${report.realm}`);
  if (report.device !== arrival.device) {
    throw new CroupierError(
      'message.wrong-device',
      `the report of ${report.device} came in the name of ${arrival.device}`,
    );
  }
  const digest = Sha256.parse(createHash('sha256').update(arrival.payload).digest('hex'));
  return { report, digest, certificate: signer.certificate, address: arrival.address, receivedAt };
}
