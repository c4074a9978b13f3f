/** What an exported audit trail says about devices: which certificates were to be made, and who was shut out when. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { AuditExportLine, type AuditRecord } from '#schema/audit.ts';
import { parseJson } from '#schema/parse.ts';
import type { Span } from './chronicle.ts';

export interface CertificateTrace {
  /** Numbers of the audit records that say that the certificate is to be made, and that it was. */
  readonly intended: number | undefined;
  readonly issued: number | undefined;
}

export interface Trail {
  /** By serial number. */
  readonly certificates: ReadonlyMap<string, CertificateTrace>;
  /** By device: while it was quarantined or revoked. */
  readonly containment: ReadonlyMap<string, readonly Span[]>;
  /** Highest number of a record. */
  readonly records: number;
}

const NEVER = Number.POSITIVE_INFINITY;
const CONTAINING = new Set(['device.quarantine', 'device.revoke']);
const RESTORING = new Set(['device.release', 'device.re-baseline']);

class TrailReader {
  readonly certificates = new Map<string, CertificateTrace>();
  readonly containment = new Map<string, Span[]>();
  records = 0;

  take(record: AuditRecord): void {
    this.records = Math.max(this.records, record.seq);
    if (record.outcome !== 'success') return;
    this.takeCertificate(record);
    const { device } = record;
    if (device === undefined) return;
    if (CONTAINING.has(record.action)) this.contain(device, Date.parse(record.time));
    else if (RESTORING.has(record.action)) this.restore(device, Date.parse(record.time));
  }

  private takeCertificate({ action, details, object, seq }: AuditRecord): void {
    const serial = details?.['serial'];
    if (action.startsWith('enrolment.') && typeof serial === 'string') {
      const known = this.certificates.get(serial);
      this.certificates.set(serial, { intended: known?.intended ?? seq, issued: known?.issued });
    } else if (action === 'certificate.issue' && object !== undefined) {
      const known = this.certificates.get(object.id);
      this.certificates.set(object.id, { intended: known?.intended, issued: known?.issued ?? seq });
    }
  }

  private contain(device: string, at: number): void {
    const spans = this.containment.get(device) ?? [];
    if (spans.at(-1)?.to !== NEVER) spans.push({ from: at, to: NEVER });
    this.containment.set(device, spans);
  }

  private restore(device: string, at: number): void {
    const last = this.containment.get(device)?.at(-1);
    if (last !== undefined && last.to === NEVER) last.to = at;
  }
}

/** Reads a file that `croupier audit export` has written. Errors: `json.malformed`. */
export async function readTrail(file: string): Promise<Trail> {
  const reader = new TrailReader();
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    if (line === '') continue;
    const parsed = parseJson(AuditExportLine, line, 'json.malformed', `a line of ${file}`);
    if (parsed.kind === 'record') reader.take(parsed.record);
  }
  return reader;
}
