/** The decision on enrolment as a table: every refusal beside the grant it differs from by one thing. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import { DeviceClass, DeviceId, EnrolmentId, Serial, Sha256, SiteName } from '#schema/ids.ts';
import { Policy } from '#schema/policy.ts';
import { alertOf } from '#gateway/audit/alerts.ts';
import { decideEnrolment, type Credential, type EnrolmentFacts } from '#gateway/enrolment/decide.ts';
import { hashCode } from '#gateway/enrolment/ticket-code.ts';
import type { EnrolmentState } from '#gateway/ports/store/enrolment.ts';
import type {
  CertificateIntent,
  CertificateRecord,
  DeviceRecord,
  EnrolmentRequest,
  TicketRecord,
} from '#gateway/ports/store/records.ts';

const NOW = new Date('2026-03-01T12:00:00Z');
const DAY = 86_400_000;
const at = (days: number): Date => new Date(NOW.getTime() + days * DAY);
const digest = (text: string): Sha256 => Sha256.parse(createHash('sha256').update(text).digest('hex'));
const serial = (number: number): Serial => Serial.parse(number.toString(16).padStart(32, '0'));
const CODE = '7QK2M-00000-00000-00001';
const egm = DeviceId.parse('egm-1');
const other = DeviceId.parse('egm-2');
const csr = digest('csr');

const policy = Policy.parse({ version: 1, classes: { egm: { keyTypes: ['EC-P256'], validity: '90d', grace: '30d' } } });

const device = (over: Partial<DeviceRecord> = {}): DeviceRecord => ({
  id: egm,
  class: DeviceClass.parse('egm'),
  site: SiteName.parse('main'),
  serialNumber: 'SN-1',
  labels: {},
  state: { kind: 'enrolled' },
  stateSince: at(-60),
  createdAt: at(-60),
  currentSerial: serial(1),
  nextSerial: undefined,
  ...over,
});
const ticket = (over: Partial<TicketRecord> = {}): TicketRecord => ({
  id: 'ticket-1',
  device: egm,
  salt: '00',
  codeHash: hashCode(CODE, '00'),
  expiresAt: at(1),
  createdBy: 'ada',
  consumedAt: undefined,
  consumedCsr: undefined,
  ...over,
});
const certificate = (over: Partial<CertificateRecord> = {}): CertificateRecord => ({
  serial: serial(1),
  device: egm,
  issuer: 'device-ca-1',
  state: 'issued',
  csrSha256: digest('an earlier csr'),
  spkiSha256: digest('spki'),
  fingerprint: digest('certificate'),
  tbs: new Uint8Array(),
  der: new Uint8Array([1]),
  notBefore: at(-30),
  notAfter: at(60),
  createdAt: at(-30),
  revokedAt: undefined,
  ...over,
});
const request = (over: Partial<EnrolmentRequest> = {}): EnrolmentRequest => ({
  id: EnrolmentId.parse('00000000-0000-4000-8000-000000000001'),
  csrSha256: csr,
  csr: new Uint8Array(),
  device: egm,
  reason: 'enrolment.unauthenticated',
  source: undefined,
  state: 'approved',
  requestedAt: at(-1),
  decidedAt: at(0),
  decidedBy: 'ada',
  ...over,
});
/** What the same CSR got a minute ago. */
const repeated = certificate({ serial: serial(2), csrSha256: csr, createdAt: new Date(NOW.getTime() - 60_000) });

const intent: CertificateIntent = {
  freshStart: false,
  serial: serial(9),
  device: egm,
  issuer: 'device-ca-1',
  csrSha256: csr,
  spkiSha256: digest('spki'),
  tbs: new Uint8Array(),
  notBefore: NOW,
  notAfter: at(90),
  createdAt: NOW,
};

const state = (over: Partial<EnrolmentState> = {}): EnrolmentState => ({
  device: device(),
  tickets: [],
  presented: undefined,
  repeated: undefined,
  keyOwner: undefined,
  request: undefined,
  pendingRequests: 0,
  ...over,
});
const facts = (credential: Credential, over: Partial<EnrolmentFacts> = {}): EnrolmentFacts => ({
  operation: credential.kind === 'certificate' ? 'simplereenroll' : 'simpleenroll',
  credential,
  label: undefined,
  claimed: egm,
  commonName: 'egm-1',
  csr: new Uint8Array(),
  csrSha256: csr,
  requestId: '00000000-0000-4000-8000-000000000002',
  source: '192.0.2.1',
  now: NOW,
  policy,
  withdrawnAt: () => undefined,
  unrecorded: () => undefined,
  prepare: () => intent,
  ...over,
});

const TICKET: Credential = { kind: 'ticket', code: CODE };
const CERTIFICATE: Credential = { kind: 'certificate', fingerprint: digest('certificate') };
const NONE: Credential = { kind: 'none' };

type Expected = 'issue' | 'repeat' | 'park' | 'wait' | ErrorCode;
type Row = readonly [string, Credential, Partial<EnrolmentState>, Expected, Partial<EnrolmentFacts>?];

/** Beside a certificate beyond its grace. */
const BEYOND_GRACE: readonly (readonly [string, Partial<EnrolmentState>, Row[3], Partial<EnrolmentFacts>?])[] = [
  ['in the name of another device', {}, 'csr.subject-mismatch', { commonName: 'egm-2' }],
  ['and an open ticket', { tickets: [ticket()] }, 'enrolment.unauthenticated'],
  ['and no place to wait', { pendingRequests: policy.enrolment.maxParked }, 'enrolment.rate-limited'],
  ['and a request that waits', { request: request({ state: 'pending' }) }, 'wait'],
  [
    'and a request that waits, and a ticket since',
    { request: request({ state: 'pending' }), tickets: [ticket()] },
    'enrolment.unauthenticated',
  ],
  ['and a request that was approved', { request: request() }, 'issue'],
  ['and a request that was approved for another device', { request: request({ device: other }) }, 'device.not-found'],
  ['and a request that was refused', { request: request({ state: 'refused' }) }, 'enrolment.refused'],
  [
    'of a device that was revoked meanwhile',
    { device: device({ state: { kind: 'revoked' } }), request: request() },
    'certificate.revoked',
  ],
  [
    'before the current one',
    { device: device({ currentSerial: serial(3) }), request: request() },
    'certificate.superseded',
  ],
];

const rows: readonly Row[] = [
  ['an open ticket', TICKET, { tickets: [ticket()] }, 'issue'],
  ['the second of two tickets', TICKET, { tickets: [ticket({ salt: '01' }), ticket()] }, 'issue'],
  ['no ticket', TICKET, {}, 'enrolment.code-invalid'],
  ['a code of another ticket', { kind: 'ticket', code: 'another' }, { tickets: [ticket()] }, 'enrolment.code-invalid'],
  ['a ticket of no device', TICKET, { device: undefined, tickets: [ticket()] }, 'enrolment.code-invalid'],
  [
    'a ticket of another device than the user name',
    TICKET,
    { tickets: [ticket()] },
    'enrolment.code-invalid',
    { claimed: other },
  ],
  ['a ticket in its last moment', TICKET, { tickets: [ticket({ expiresAt: NOW })] }, 'issue'],
  [
    'a ticket a moment later',
    TICKET,
    { tickets: [ticket({ expiresAt: new Date(NOW.getTime() - 1) })] },
    'enrolment.code-invalid',
  ],
  [
    'a used ticket and the same CSR',
    TICKET,
    { tickets: [ticket({ consumedAt: NOW, consumedCsr: csr })], repeated },
    'repeat',
  ],
  [
    'a used, by now expired ticket and the same CSR',
    TICKET,
    { tickets: [ticket({ consumedAt: NOW, consumedCsr: csr, expiresAt: at(-1) })], repeated },
    'repeat',
  ],
  [
    'a used ticket and the same CSR, never signed',
    TICKET,
    {
      tickets: [ticket({ consumedAt: NOW, consumedCsr: csr })],
      repeated: { ...repeated, state: 'intended', der: undefined },
    },
    'repeat',
  ],
  [
    'a used ticket and another CSR',
    TICKET,
    { tickets: [ticket({ consumedAt: NOW, consumedCsr: digest('another') })], repeated },
    'enrolment.code-invalid',
  ],
  [
    'a used ticket and the same CSR after the window',
    TICKET,
    { tickets: [ticket({ consumedAt: at(-2), consumedCsr: csr })], repeated: { ...repeated, createdAt: at(-2) } },
    'enrolment.code-invalid',
  ],
  [
    'a used ticket whose certificate was revoked',
    TICKET,
    { tickets: [ticket({ consumedAt: NOW, consumedCsr: csr })], repeated: { ...repeated, state: 'revoked' } },
    'enrolment.code-invalid',
  ],
  [
    'a used ticket whose certificate has ended',
    TICKET,
    { tickets: [ticket({ consumedAt: NOW, consumedCsr: csr })], repeated: { ...repeated, notAfter: at(-0.01) } },
    'enrolment.code-invalid',
  ],
  [
    'a ticket at simplereenroll',
    TICKET,
    { tickets: [ticket()] },
    'enrolment.unauthenticated',
    { operation: 'simplereenroll' },
  ],
  [
    'a ticket of a quarantined device',
    TICKET,
    { device: device({ state: { kind: 'quarantined', code: 'report.forked' } }), tickets: [ticket()] },
    'enrolment.quarantined',
  ],
  [
    'a ticket of a revoked device',
    TICKET,
    { device: device({ state: { kind: 'revoked' } }), tickets: [ticket()] },
    'enrolment.quarantined',
  ],
  [
    'a used ticket of a quarantined device and the same CSR',
    TICKET,
    {
      device: device({ state: { kind: 'quarantined', code: 'report.forked' } }),
      tickets: [ticket({ consumedAt: NOW, consumedCsr: csr })],
      repeated,
    },
    'enrolment.quarantined',
  ],
  ['a ticket and a CSR without a name', TICKET, { tickets: [ticket()] }, 'issue', { commonName: undefined }],
  [
    'a ticket and a CSR of another name',
    TICKET,
    { tickets: [ticket()] },
    'csr.subject-mismatch',
    { commonName: 'egm-2' },
  ],
  ['a key that the device has used before', TICKET, { tickets: [ticket()], keyOwner: egm }, 'issue'],
  ['a key that another device has used', TICKET, { tickets: [ticket()], keyOwner: other }, 'csr.key-already-used'],
  ['the label of its class', TICKET, { tickets: [ticket()] }, 'issue', { label: DeviceClass.parse('egm') }],
  [
    'the label of another class',
    TICKET,
    { tickets: [ticket()] },
    'enrolment.label-unknown',
    { label: DeviceClass.parse('kiosk') },
  ],
  [
    'a class that the policy lost',
    TICKET,
    { device: device({ class: DeviceClass.parse('pos') }), tickets: [ticket()] },
    'config.invalid',
  ],

  ['the current certificate', CERTIFICATE, { presented: certificate() }, 'issue'],
  [
    'the current certificate at simpleenroll',
    CERTIFICATE,
    { presented: certificate() },
    'issue',
    { operation: 'simpleenroll' },
  ],
  [
    'the next certificate',
    CERTIFICATE,
    { device: device({ nextSerial: serial(2) }), presented: certificate({ serial: serial(2) }) },
    'issue',
  ],
  [
    'the current certificate while a next one is out',
    CERTIFICATE,
    { device: device({ nextSerial: serial(2) }), presented: certificate() },
    'issue',
  ],
  ['a certificate of no record', CERTIFICATE, {}, 'certificate.unknown'],
  [
    'a certificate of another device',
    CERTIFICATE,
    { presented: certificate({ device: other }) },
    'certificate.unknown',
  ],
  [
    'a certificate that was withheld',
    CERTIFICATE,
    { presented: certificate({ state: 'withheld' }) },
    'certificate.unknown',
  ],
  [
    'a certificate that was never completed',
    CERTIFICATE,
    { presented: certificate({ state: 'intended' }) },
    'certificate.unknown',
  ],
  ['a revoked certificate', CERTIFICATE, { presented: certificate({ state: 'revoked' }) }, 'certificate.revoked'],
  [
    'a certificate of a revoked device',
    CERTIFICATE,
    { device: device({ state: { kind: 'revoked' } }), presented: certificate() },
    'certificate.revoked',
  ],
  [
    'a certificate of a quarantined device',
    CERTIFICATE,
    { device: device({ state: { kind: 'quarantined', code: 'report.forked' } }), presented: certificate() },
    'enrolment.quarantined',
  ],
  [
    'a certificate before the current one',
    CERTIFICATE,
    { device: device({ currentSerial: serial(3) }), presented: certificate() },
    'certificate.superseded',
  ],
  ['a certificate from now on', CERTIFICATE, { presented: certificate({ notBefore: NOW }) }, 'issue'],
  [
    'a certificate from tomorrow on',
    CERTIFICATE,
    { presented: certificate({ notBefore: at(1) }) },
    'certificate.not-yet-valid',
  ],
  ['a certificate at the end of its grace', CERTIFICATE, { presented: certificate({ notAfter: at(-30) }) }, 'issue'],
  [
    'a certificate a second after its grace',
    CERTIFICATE,
    { presented: certificate({ notAfter: new Date(at(-30).getTime() - 1000) }) },
    'park',
  ],
  [
    'a certificate of a CA that was withdrawn within its grace',
    CERTIFICATE,
    { presented: certificate() },
    'issue',
    { withdrawnAt: () => at(-30) },
  ],
  [
    'a certificate of a CA that was withdrawn a second before its grace',
    CERTIFICATE,
    { presented: certificate() },
    'park',
    { withdrawnAt: () => new Date(at(-30).getTime() - 1000) },
  ],
  ...BEYOND_GRACE.map(([what, given, expected, more = {}]): Row => [
    `a certificate beyond its grace ${what}`,
    CERTIFICATE,
    { presented: certificate({ notAfter: at(-60) }), ...given },
    expected,
    more,
  ]),
  [
    'the same CSR again by the former certificate',
    CERTIFICATE,
    { device: device({ nextSerial: serial(2) }), presented: certificate(), repeated },
    'repeat',
  ],
  [
    'the same CSR again by the certificate that it got',
    CERTIFICATE,
    { device: device({ nextSerial: serial(2) }), presented: repeated, repeated },
    'issue',
  ],
  [
    'a renewal in the name of another device',
    CERTIFICATE,
    { presented: certificate() },
    'csr.subject-mismatch',
    { commonName: 'egm-2' },
  ],

  ['nothing, by a device without a ticket', NONE, {}, 'park'],
  [
    'nothing, by nobody of the inventory',
    NONE,
    { device: undefined },
    'park',
    { claimed: undefined, commonName: 'a machine' },
  ],
  ['nothing, by a device with an open ticket', NONE, { tickets: [ticket()] }, 'enrolment.unauthenticated'],
  ['nothing, by a device whose ticket has expired', NONE, { tickets: [ticket({ expiresAt: at(-1) })] }, 'park'],
  [
    'nothing, by a device whose ticket got this CSR its certificate',
    NONE,
    { tickets: [ticket({ consumedAt: NOW, consumedCsr: csr })], repeated },
    'enrolment.unauthenticated',
  ],
  [
    'nothing, by a device whose ticket got another CSR its certificate',
    NONE,
    { tickets: [ticket({ consumedAt: NOW, consumedCsr: digest('another') })] },
    'park',
  ],
  ['nothing, at simplereenroll', NONE, {}, 'enrolment.unauthenticated', { operation: 'simplereenroll' }],
  ['the last free place to wait', NONE, { pendingRequests: policy.enrolment.maxParked - 1 }, 'park'],
  ['no place to wait', NONE, { pendingRequests: policy.enrolment.maxParked }, 'enrolment.rate-limited'],
  [
    'a request that waits, though there is no place',
    NONE,
    { pendingRequests: policy.enrolment.maxParked, request: request({ state: 'pending' }) },
    'wait',
  ],
  ['a request that was approved', NONE, { request: request() }, 'issue'],
  [
    'a request that was approved under the name of the inventory',
    NONE,
    { request: request() },
    'issue',
    { claimed: undefined, commonName: 'a machine' },
  ],
  ['a request that was approved for another device', NONE, { request: request({ device: other }) }, 'device.not-found'],
  [
    'a request that was approved for a device that is gone',
    NONE,
    { device: undefined, request: request() },
    'device.not-found',
  ],
  [
    'a request that was approved before a quarantine',
    NONE,
    { device: device({ state: { kind: 'quarantined', code: 'report.forked' } }), request: request() },
    'enrolment.quarantined',
  ],
  ['a request that was refused', NONE, { request: request({ state: 'refused' }) }, 'enrolment.refused'],
  ['a request that got its certificate', NONE, { request: request({ state: 'issued' }), repeated }, 'repeat'],
  [
    'a request that got its certificate long ago',
    NONE,
    { request: request({ state: 'issued' }), repeated: { ...repeated, createdAt: at(-3) } },
    'enrolment.code-invalid',
  ],
];

describe('a certificate of ours without a record (the gateway was restored from a backup)', () => {
  const ours = (over: Partial<EnrolmentState> = {}, more: Partial<EnrolmentFacts> = {}) =>
    decideEnrolment(facts(CERTIFICATE, { unrecorded: () => '0a0b', ...more }), state(over));

  test('given the device of its name, then its request is parked for an engineer, who is told why', () => {
    expect(ours()).toMatchObject({
      kind: 'park',
      request: { device: egm, reason: 'certificate.unknown' },
      audit: [{ code: 'enrolment.parked', details: { reason: 'certificate.unknown', serial: '0a0b' } }],
    });
  });

  test.each<[string, Partial<EnrolmentState>, Partial<EnrolmentFacts>, string]>([
    ['a stranger, or nobody of that name', { device: undefined }, {}, 'certificate.unknown'],
    ['a certificate that is not ours', {}, { unrecorded: () => undefined }, 'certificate.unknown'],
    ['the request of another device', {}, { commonName: 'egm-2' }, 'csr.subject-mismatch'],
    ['a revoked device', { device: device({ state: { kind: 'revoked' } }) }, {}, 'certificate.revoked'],
    [
      'a quarantined device',
      { device: device({ state: { kind: 'quarantined', code: 'report.forked' } }) },
      {},
      'enrolment.quarantined',
    ],
  ])('given %s, then it is refused', (_, over, more, code) => {
    expect(ours(over, more)).toMatchObject({ kind: 'refuse', audit: [{ code }] });
  });
});

describe('decideEnrolment', () => {
  for (const [name, credential, given, expected, more = {}] of rows) {
    test(`given ${name}, when decided, then ${expected}`, () => {
      const outcome = decideEnrolment(facts(credential, more), state(given));
      expect(outcome.kind === 'refuse' ? outcome.error.code : outcome.kind).toBe(expected);
      if (outcome.kind === 'repeat' || outcome.kind === 'wait') return;
      expect(outcome.audit).toHaveLength(1);
      expect(outcome.audit[0]?.outcome).toBe(outcome.kind === 'refuse' ? 'denied' : 'success');
      expect(JSON.stringify(outcome.audit)).not.toContain(CODE);
    });
  }

  test('given a grant, when issued, then it consumes exactly what vouched for it', () => {
    const byTicket = decideEnrolment(facts(TICKET), state({ tickets: [ticket()] }));
    expect(byTicket).toMatchObject({ kind: 'issue', ticket: 'ticket-1', request: undefined, intent });
    const byApproval = decideEnrolment(facts(NONE), state({ request: request() }));
    expect(byApproval).toMatchObject({ kind: 'issue', ticket: undefined, request: request().id });
    const byCertificate = decideEnrolment(facts(CERTIFICATE), state({ presented: certificate() }));
    expect(byCertificate).toMatchObject({ kind: 'issue', ticket: undefined, request: undefined });
  });

  test('given a certificate beyond its grace, when its request is parked, then the record says whose it is, and an alert is raised', () => {
    const presented = certificate({ notAfter: at(-60) });
    const outcome = decideEnrolment(facts(CERTIFICATE), state({ presented }));
    expect(outcome).toMatchObject({ kind: 'park', request: { device: egm, reason: 'certificate.expired' } });
    const [record] = outcome.kind === 'park' ? outcome.audit : [];
    expect(record).toMatchObject({
      code: 'enrolment.parked',
      device: egm,
      details: { reason: 'certificate.expired', serial: presented.serial, expired: at(-60).toISOString() },
    });
    expect(record === undefined ? undefined : alertOf(record)).toMatchObject({
      code: 'enrolment.parked',
      device: egm,
      message: expect.stringContaining(at(-60).toISOString()),
    });
    const anonymous = decideEnrolment(facts(NONE), state());
    expect(anonymous.kind === 'park' ? anonymous.audit.map(alertOf) : anonymous).toEqual([undefined]);
  });

  test('given a CA that was withdrawn, when its certificates have outlived their grace since, then their requests are parked, too', () => {
    const withdrawn = (days: number) => facts(CERTIFICATE, { withdrawnAt: () => at(days) });
    const given = state({ presented: certificate() });
    expect(decideEnrolment(withdrawn(-29), given).kind).toBe('issue');
    const outcome = decideEnrolment(withdrawn(-31), given);
    expect(outcome.kind === 'park' ? outcome.audit[0]?.details : outcome).toMatchObject({
      reason: 'certificate.expired',
      issuerWithdrawn: at(-31).toISOString(),
    });
  });

  test('given a key that the class does not allow, when prepared, then that is the refusal; what is not ours is thrown on', () => {
    const refuse = (error: Error) => (): never => {
      throw error;
    };
    const weak = new CroupierError('csr.key-weak', 'too short');
    const given = state({ tickets: [ticket()] });
    expect(decideEnrolment(facts(TICKET, { prepare: refuse(weak) }), given)).toMatchObject({
      kind: 'refuse',
      error: weak,
    });
    expect(() => decideEnrolment(facts(TICKET, { prepare: refuse(new RangeError('bug')) }), given)).toThrow(RangeError);
  });

  test('given a wrong code, when refused, then the client is told one thing', () => {
    const refusals = rows
      .filter(([, credential, , expected]) => credential.kind === 'ticket' && expected === 'enrolment.code-invalid')
      .map(([, credential, given, , more = {}]) => decideEnrolment(facts(credential, more), state(given)));
    expect(refusals.length).toBeGreaterThan(5);
    expect(
      new Set(refusals.map((outcome) => (outcome.kind === 'refuse' ? outcome.error.message : outcome.kind))).size,
    ).toBe(1);
  });
});
