import type { DeviceId, EnrolmentId, Serial, Sha256 } from '#schema/ids.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { CroupierError } from '#schema/errors.ts';
import type {
  Audited,
  CertificateIntent,
  CertificateRecord,
  DeviceRecord,
  EnrolmentRequest,
  TicketRecord,
} from './records.ts';

export interface EnrolmentQuery {
  /** Device that the request is about, where the caller could tell. */
  readonly device: DeviceId | undefined;
  readonly csrSha256: Sha256;
  readonly spkiSha256: Sha256;
  /** Fingerprint of the client certificate presented. */
  readonly presented: Sha256 | undefined;
}

export interface EnrolmentState {
  /** The owner of the presented certificate, else the device that an approved or issued request is for, else that of the query. */
  readonly device: DeviceRecord | undefined;
  /** Tickets of the device, newest first. */
  readonly tickets: readonly TicketRecord[];
  /** Record of the presented client certificate. */
  readonly presented: CertificateRecord | undefined;
  /** Latest certificate of this very CSR for this device. */
  readonly repeated: CertificateRecord | undefined;
  /** Device that has used the public key before. */
  readonly keyOwner: DeviceId | undefined;
  readonly request: EnrolmentRequest | undefined;
  readonly pendingRequests: number;
}

export type EnrolmentOutcome =
  /** Sign: record the intent, consume the ticket, mark the request, all at once. */
  | ({
      readonly kind: 'issue';
      readonly intent: CertificateIntent;
      readonly ticket: string | undefined;
      readonly request: EnrolmentId | undefined;
    } & Audited)
  /** The same request as before: its certificate again, signed now if a crash came between. */
  | { readonly kind: 'repeat'; readonly certificate: CertificateRecord }
  | ({ readonly kind: 'park'; readonly request: EnrolmentRequest; readonly retryAfter: number } & Audited)
  | { readonly kind: 'wait'; readonly retryAfter: number }
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export type RequestOutcome =
  | ({
      readonly kind: 'decide';
      readonly state: 'approved' | 'refused';
      readonly device: DeviceId | undefined;
      readonly by: string;
    } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export interface EnrolmentStore {
  decideEnrolment(
    query: EnrolmentQuery,
    decide: (state: EnrolmentState) => EnrolmentOutcome,
  ): Promise<EnrolmentOutcome>;
  /**
   * Stores the signed certificate of an intent and makes it the device's next identity. The device becomes `enrolled`
   * when it was `registered`. Doing it twice changes nothing.
   */
  completeCertificate(
    serial: Serial,
    der: Uint8Array,
    fingerprint: Sha256,
    at: Date,
    audit: AuditEvent,
  ): Promise<CertificateRecord>;
  /** An intent that must never be released. */
  withholdCertificate(serial: Serial, audit: AuditEvent): Promise<void>;
  certificateByFingerprint(
    fingerprint: Sha256,
  ): Promise<{ readonly certificate: CertificateRecord; readonly device: DeviceRecord } | undefined>;
  /** First use of the next identity: it becomes the current one. Nothing happens when it is current already. */
  promoteCertificate(serial: Serial, at: Date): Promise<void>;
  revokedCertificates(): Promise<
    readonly {
      readonly serial: Serial;
      /** Key label of the issuing CA. */
      readonly issuer: string;
      readonly revokedAt: Date;
      readonly notAfter: Date;
    }[]
  >;
  enrolmentRequests(state: EnrolmentRequest['state'] | undefined, limit: number): Promise<readonly EnrolmentRequest[]>;
  decideRequest(
    id: EnrolmentId,
    at: Date,
    decide: (
      request: EnrolmentRequest | undefined,
      device: (id: DeviceId) => DeviceRecord | undefined,
    ) => RequestOutcome,
  ): Promise<RequestOutcome>;
  latestCrl(): Promise<{ readonly number: number; readonly der: Uint8Array; readonly nextUpdate: Date } | undefined>;
  /** The latest lists of all CAs together, newest first. */
  recentCrls(limit: number): Promise<readonly { readonly number: number; readonly der: Uint8Array }[]>;
  addCrl(
    crl: { readonly number: number; readonly der: Uint8Array; readonly thisUpdate: Date; readonly nextUpdate: Date },
    audit: AuditEvent,
  ): Promise<void>;
}
