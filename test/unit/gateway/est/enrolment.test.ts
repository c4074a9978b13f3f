/** Who gets a certificate (D§6), over real sockets, with the real store. */
import { X509Certificate } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createCsr } from '#pki/csr/create.ts';
import { encodeBase64 } from '#pki/est/base64.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import { DeviceId } from '#schema/ids.ts';
import {
  certificateOf,
  DAY,
  enrolledDevice,
  enrolRequest,
  newDevice,
  startEstGateway,
  type EstGateway,
  type EstIdentity,
  type EstResponse,
  type TestDevice,
} from '#test/support/est-gateway.ts';
import { OpensslWorkspace } from '#test/support/openssl.ts';
import { createTestPki } from '#test/support/test-pki.ts';

const errorOf = ({ status, headers }: EstResponse): [number, string | undefined] => [status, headers['croupier-error']];
const serialOf = (der: Uint8Array): string => new X509Certificate(der).serialNumber;

let gateway: EstGateway;

/** Of a realm that nobody here knows. */
async function strangerIdentity(): Promise<EstIdentity> {
  const key = await generateSoftwareKey('EC-P256');
  return { key, certificate: await (await createTestPki({ realm: 'elsewhere' })).issueDevice(key.signer.spki) };
}

describe('by ticket', () => {
  beforeEach(async () => {
    gateway = await startEstGateway();
    await gateway.register('egm-1');
  });
  afterEach(() => gateway.stop());

  test('given a ticket, when its device enrols, then its certificate says what the inventory says and is on record', async () => {
    const device = await newDevice('egm-1');
    const der = certificateOf(await gateway.ask(enrolRequest(device, { code: await gateway.ticket('egm-1') })));
    const certificate = new X509Certificate(der);
    expect(certificate.subject).toBe('O=Casino Nürnberg\nOU=egm\nCN=egm-1');
    expect(certificate.subjectAltName).toBe('URI:spiffe://test/main-floor/egm/egm-1');
    const detail = await gateway.store.device(DeviceId.parse('egm-1'));
    expect(detail?.device.state).toEqual({ kind: 'enrolled' });
    expect(detail?.certificates.map(({ state, der: stored }) => [state, stored])).toEqual([
      ['issued', Buffer.from(der)],
    ]);
    const actions = (await gateway.auditRecords()).map(({ action, outcome }) => `${action} ${outcome}`);
    expect(actions.slice(-2)).toEqual(['enrolment.simpleenroll success', 'certificate.issue success']);
  });

  test('given a code as a person types it, when it is sent in small letters without hyphens, then it is accepted', async () => {
    const code = (await gateway.ticket('egm-1')).toLowerCase().replaceAll('-', '');
    certificateOf(await gateway.ask(enrolRequest(await newDevice('egm-1'), { code })));
  });

  test('given codes that are wrong, used, expired, of another device or for nobody, when sent, then all answers are the same', async () => {
    await gateway.register('egm-2');
    const used = await gateway.ticket('egm-1');
    certificateOf(await gateway.ask(enrolRequest(await newDevice('egm-1'), { code: used })));
    const expired = await gateway.ticket('egm-1', 1000);
    gateway.clock.advance(2000);
    const foreign = await gateway.ticket('egm-2');
    const tries = [
      { code: '00000-00000-00000-00000' },
      { code: used },
      { code: expired },
      { code: foreign },
      { code: foreign, user: 'egm-unknown' },
      { code: foreign, user: 'not a device id!' },
      { code: '' },
    ];
    const answers: EstResponse[] = [];
    for (const one of tries) answers.push(await gateway.ask(enrolRequest(await newDevice('egm-1'), one)));
    const comparable = answers.map(({ status, rawHeaders, body }) => ({
      status,
      names: rawHeaders.filter((_, i) => i % 2 === 0),
      body,
    }));
    expect(new Set(comparable.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(errorOf(answers[0] as EstResponse)).toEqual([401, 'enrolment.code-invalid']);
    const good = await gateway.ticket('egm-1');
    certificateOf(await gateway.ask(enrolRequest(await newDevice('egm-1'), { code: good })));
  });

  test('given an answer that was lost, when the same CSR comes with the used code, then the same certificate comes again', async () => {
    const device = await newDevice('egm-1');
    const request = enrolRequest(device, { code: await gateway.ticket('egm-1') });
    const first = certificateOf(await gateway.ask(request));
    expect(certificateOf(await gateway.ask(request))).toEqual(first);
    const another = await gateway.ask({ ...request, body: encodeBase64((await newDevice('egm-1')).csr) });
    expect(errorOf(another)).toEqual([401, 'enrolment.code-invalid']);
    gateway.clock.advance(2 * DAY);
    expect(errorOf(await gateway.ask(request)), 'the time for repetition is over').toEqual([
      401,
      'enrolment.code-invalid',
    ]);
  });

  test('given the same request four times at once, when all ask, then all get the same certificate', async () => {
    const request = enrolRequest(await newDevice('egm-1'), { code: await gateway.ticket('egm-1') });
    const answers = await Promise.all([1, 2, 3, 4].map(() => gateway.ask(request)));
    expect(new Set(answers.map((answer) => Buffer.from(certificateOf(answer)).toString('hex'))).size).toBe(1);
  });

  test('given an answer that was lost, when a client that waits for the challenge repeats, then it is challenged, not parked', async () => {
    const device = await newDevice('egm-1');
    const code = await gateway.ticket('egm-1');
    const first = certificateOf(await gateway.ask(enrolRequest(device, { code })));
    expect(errorOf(await gateway.ask(enrolRequest(device)))).toEqual([401, 'enrolment.unauthenticated']);
    expect(certificateOf(await gateway.ask(enrolRequest(device, { code })))).toEqual(first);
  });

  test('given the same ticket twice at once with two keys, when both ask, then exactly one gets a certificate', async () => {
    const code = await gateway.ticket('egm-1');
    const [one, two] = await Promise.all([newDevice('egm-1'), newDevice('egm-1')]);
    const answers = await Promise.all([one, two].map((device) => gateway.ask(enrolRequest(device, { code }))));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401]);
  });

  test('given a device that is quarantined or revoked, when it has a ticket, then it gets nothing; its neighbour does', async () => {
    await gateway.register('egm-2');
    await gateway.register('egm-3');
    const codes = await Promise.all(['egm-1', 'egm-2', 'egm-3'].map((id) => gateway.ticket(id)));
    await gateway.quarantine('egm-1');
    await gateway.revoke('egm-2');
    const ask = async (id: string, code: string | undefined) =>
      gateway.ask(enrolRequest(await newDevice(id), { code }));
    expect(errorOf(await ask('egm-1', codes[0]))).toEqual([400, 'enrolment.quarantined']);
    expect(errorOf(await ask('egm-2', codes[1]))).toEqual([400, 'enrolment.quarantined']);
    certificateOf(await ask('egm-3', codes[2]));
  });

  test('given a ticket beside a certificate that is nobody’s, when simpleenroll is asked, then the ticket counts', async () => {
    const stranger = await strangerIdentity();
    const device = await newDevice('egm-1');
    expect(errorOf(await gateway.ask(enrolRequest(device, { identity: stranger, operation: 'simpleenroll' })))).toEqual(
      [401, 'certificate.unknown'],
    );
    certificateOf(await gateway.ask(enrolRequest(device, { identity: stranger, code: await gateway.ticket('egm-1') })));
  });

  test('given a ticket of another realm, when it is sent here, then it is a wrong code', async () => {
    const other = await startEstGateway({ realm: 'production' });
    await other.register('egm-1');
    const code = await other.ticket('egm-1');
    const device = await newDevice('egm-1');
    expect(errorOf(await gateway.ask(enrolRequest(device, { code })))).toEqual([401, 'enrolment.code-invalid']);
    certificateOf(await other.ask(enrolRequest(device, { code })));
    await other.stop();
  });

  test('given requests that are refused, when the audit is read, then each is in it with its code and without the ticket code', async () => {
    const code = '00000-00000-00000-00001';
    await gateway.ask(enrolRequest(await newDevice('egm-1'), { code }));
    const records = await gateway.auditRecords();
    expect(records.at(-1)).toMatchObject({
      action: 'enrolment.simpleenroll',
      outcome: 'denied',
      code: 'enrolment.code-invalid',
      device: 'egm-1',
      source: '127.0.0.1',
    });
    expect(JSON.stringify(records)).not.toContain(code);
  });
});

describe('by certificate', () => {
  let device: TestDevice & EstIdentity;
  beforeEach(async () => {
    gateway = await startEstGateway();
    device = await enrolledDevice(gateway, 'egm-1');
  });
  afterEach(() => gateway.stop());

  const renew = async (identity: EstIdentity, id = 'egm-1'): Promise<EstResponse> =>
    gateway.ask(enrolRequest(await newDevice(id), { identity }));

  test('given the first certificate, never used otherwise, when the answer to its renewal is lost, then the device is not locked out', async () => {
    const next = await newDevice('egm-1');
    const request = enrolRequest(next, { identity: device });
    const lost = certificateOf(await gateway.ask(request));
    expect(certificateOf(await gateway.ask(request))).toEqual(lost);
    certificateOf(await renew(device));
  });

  test('given a certificate past its end, when within the grace of its class, then it renews; beyond it an engineer has to approve', async () => {
    gateway.clock.advance(119 * DAY);
    certificateOf(await renew(device));
    gateway.clock.advance(2 * DAY);
    const request = enrolRequest(await newDevice('egm-1'), { identity: device });
    expect((await gateway.ask(request)).status).toBe(202);
    const parked = await gateway.pendingRequest();
    expect(parked).toMatchObject({ device: 'egm-1', reason: 'certificate.expired' });
    const alerts = await gateway.store.alerts({ open: true, limit: 10 });
    expect(alerts.map((alert) => [alert.code, alert.device])).toEqual([['enrolment.parked', 'egm-1']]);
    expect((await gateway.ask(request)).status).toBe(202);
    await gateway.approve(parked);
    certificateOf(await gateway.ask(request));
  });

  test('given a class without grace, when its certificate has just ended, then it waits for an engineer; one who is refused gets nothing', async () => {
    const kiosk = await enrolledDevice(gateway, 'kiosk-1', 'kiosk');
    gateway.clock.advance(30 * DAY - 1000);
    const renewed = await newDevice('kiosk-1');
    certificateOf(await gateway.ask(enrolRequest(renewed, { identity: kiosk })));
    gateway.clock.advance(2000);
    const request = enrolRequest(await newDevice('kiosk-1'), { identity: kiosk });
    expect((await gateway.ask(request)).status).toBe(202);
    await gateway.refuse(await gateway.pendingRequest());
    expect(errorOf(await gateway.ask(request))).toEqual([400, 'enrolment.refused']);
  });

  test('given a certificate that is not valid yet, when it is shown, then it is refused, grace or not', async () => {
    const start = gateway.clock.now();
    gateway.clock.step(new Date(start.getTime() - DAY));
    expect(errorOf(await renew(device))).toEqual([400, 'certificate.not-yet-valid']);
    gateway.clock.step(start);
    certificateOf(await renew(device));
  });

  test('given two renewals, when the oldest certificate is shown, then it is superseded; the later ones still serve', async () => {
    const second = await newDevice('egm-1');
    const secondIdentity = {
      certificate: certificateOf(await gateway.ask(enrolRequest(second, { identity: device }))),
      key: second.key,
    };
    const third = await newDevice('egm-1');
    const thirdIdentity = {
      certificate: certificateOf(await gateway.ask(enrolRequest(third, { identity: secondIdentity }))),
      key: third.key,
    };
    expect(errorOf(await renew(device))).toEqual([400, 'certificate.superseded']);
    certificateOf(await renew(secondIdentity));
    expect(errorOf(await renew(thirdIdentity)), 'the second one renewed once more').toEqual([
      400,
      'certificate.superseded',
    ]);
  });

  test('given a revoked device, when it renews, then it is refused; a ticket does not help it either', async () => {
    certificateOf(await renew(device));
    const code = await gateway.ticket('egm-1');
    await gateway.revoke('egm-1');
    expect(errorOf(await renew(device))).toEqual([400, 'certificate.revoked']);
    expect(errorOf(await gateway.ask(enrolRequest(await newDevice('egm-1'), { code })))).toEqual([
      400,
      'enrolment.quarantined',
    ]);
  });

  test('given a quarantined device, when it renews, then it is refused', async () => {
    certificateOf(await renew(device));
    await gateway.quarantine('egm-1');
    expect(errorOf(await renew(device))).toEqual([400, 'enrolment.quarantined']);
  });

  test('given a certificate that our Device CA signed but nobody recorded, when it is shown, then it is unknown', async () => {
    const key = await newDevice('egm-1');
    const forged = { certificate: await gateway.pki.issueDevice(key.key.signer.spki), key: key.key };
    expect(errorOf(await renew(forged))).toEqual([401, 'certificate.unknown']);
    certificateOf(await renew(device));
  });

  test('given a device of another realm, when it renews here, then it is unknown', async () => {
    const other = await startEstGateway({ realm: 'production' });
    const foreign = await enrolledDevice(other, 'egm-1');
    expect(errorOf(await renew(foreign))).toEqual([401, 'certificate.unknown']);
    certificateOf(await other.ask(enrolRequest(await newDevice('egm-1'), { identity: foreign })));
    await other.stop();
  });
});

describe('the request itself', () => {
  beforeAll(async () => {
    gateway = await startEstGateway();
    await gateway.register('egm-1');
    await gateway.register('egm-2');
    await gateway.register('kiosk-1', 'kiosk');
  });
  afterAll(() => gateway.stop());

  const enrol = async (device: Pick<TestDevice, 'id' | 'csr'>, body?: string): Promise<EstResponse> =>
    gateway.ask(
      enrolRequest(device, { code: await gateway.ticket(device.id), ...(body === undefined ? {} : { body }) }),
    );

  test('given a CSR whose signature was altered, when sent, then it is refused and audited; as it was made it is accepted', async () => {
    const device = await newDevice('egm-1');
    const altered = Buffer.from(device.csr);
    altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
    const answer = await enrol(device, encodeBase64(altered));
    expect(errorOf(answer)).toEqual([400, 'csr.signature-invalid']);
    expect(answer.body).toContain('Sign the request with its own private key');
    expect((await gateway.auditRecords()).at(-1)).toMatchObject({ outcome: 'denied', code: 'csr.signature-invalid' });
    certificateOf(await enrol(device));
  });

  test('given RSA with 1024 bits, when sent, then it is too weak; with 2048 it is accepted', async () => {
    using openssl = new OpensslWorkspace();
    const rsa = (bits: number): string => {
      openssl.succeed(
        'req',
        '-new',
        '-newkey',
        `rsa:${bits}`,
        '-nodes',
        '-subj',
        '/CN=egm-1',
        '-keyout',
        `k${bits}`,
        '-out',
        `r${bits}`,
      );
      return openssl.succeed('req', '-in', `r${bits}`);
    };
    const device = { id: 'egm-1', csr: new Uint8Array() };
    const answer = await enrol(device, rsa(1024));
    expect(errorOf(answer)).toEqual([400, 'csr.key-weak']);
    expect(answer.body).toContain('1024 bits is too short');
    certificateOf(await enrol(device, rsa(2048)));
  });

  test.each<[string, KeyAlgorithm, KeyAlgorithm]>([
    ['egm-1', 'Ed25519', 'EC-P384'],
    ['kiosk-1', 'RSA-2048', 'EC-P384'],
  ])('given %s, when its key is %s, then its class does not allow it; %s is accepted', async (id, wrong, right) => {
    const answer = await enrol(await newDevice(id, wrong));
    expect(errorOf(answer)).toEqual([400, 'csr.key-type-refused']);
    expect(answer.body).toContain('csrattrs');
    certificateOf(await enrol(await newDevice(id, right)));
  });

  test('given the curve secp256k1, when sent, then it is refused', async () => {
    using openssl = new OpensslWorkspace();
    openssl.succeed(
      'req',
      '-new',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:secp256k1',
      '-nodes',
      '-subj',
      '/CN=egm-1',
      '-keyout',
      'k',
      '-out',
      'r',
    );
    expect(errorOf(await enrol({ id: 'egm-1', csr: new Uint8Array() }, openssl.succeed('req', '-in', 'r')))).toEqual([
      400,
      'csr.key-type-refused',
    ]);
  });

  test('given a key that another device has used, when sent, then it is refused; the device itself may use it again', async () => {
    const device = await newDevice('egm-1');
    certificateOf(await enrol(device));
    const copied = await createCsr({ subject: { commonName: 'egm-2' }, signer: device.key.signer });
    expect(errorOf(await enrol({ id: 'egm-2', csr: copied }))).toEqual([400, 'csr.key-already-used']);
    certificateOf(
      await enrol({
        id: 'egm-1',
        csr: await createCsr({ subject: { commonName: 'egm-1' }, signer: device.key.signer }),
      }),
    );
  });

  test('given a CSR with the name of another device, when sent with a ticket, then it is refused', async () => {
    const other = await newDevice('egm-2');
    expect(errorOf(await enrol({ id: 'egm-1', csr: other.csr }))).toEqual([400, 'csr.subject-mismatch']);
    certificateOf(await enrol(other));
  });

  test('given one megabyte, when sent, then 413 names the limit and the server goes on', async () => {
    const device = await newDevice('egm-1');
    const answer = await enrol(device, 'A'.repeat(1024 * 1024));
    expect(errorOf(answer)).toEqual([413, 'input.too-large']);
    expect(answer.body).toContain('65536');
    expect(errorOf(await enrol(device, 'A'.repeat(60_000))), 'base64 of no CSR').toEqual([413, 'input.too-large']);
    certificateOf(await enrol(device));
  });
});

describe('strangers', () => {
  beforeEach(async () => {
    gateway = await startEstGateway({ policy: { enrolment: { parkedRetry: '2s', maxParked: 2 } } });
    await gateway.register('egm-1');
  });
  afterEach(() => gateway.stop());

  test('given a request that waits, when an engineer approves it, then the same request gets its certificate, as often as it asks', async () => {
    const request = enrolRequest(await newDevice('egm-1'));
    expect((await gateway.ask(request)).status).toBe(202);
    expect((await gateway.ask(request)).status).toBe(202);
    await gateway.approve(await gateway.pendingRequest());
    const first = certificateOf(await gateway.ask(request));
    expect(certificateOf(await gateway.ask(request))).toEqual(first);
  });

  test('given a request that waits, when an engineer refuses it, then it is told so', async () => {
    const request = enrolRequest(await newDevice('egm-1'));
    await gateway.ask(request);
    await gateway.refuse(await gateway.pendingRequest());
    const answer = await gateway.ask(request);
    expect(errorOf(answer)).toEqual([400, 'enrolment.refused']);
    expect(answer.body).toContain('Ask the device engineer');
  });

  test('given a machine under a name of its own, when it is approved as a device of the inventory, then it gets that identity', async () => {
    const request = enrolRequest(await newDevice('00-1B-44-11-3A-B7'));
    expect((await gateway.ask(request)).status).toBe(202);
    await gateway.approve(await gateway.pendingRequest(), 'egm-1');
    const issued = certificateOf(await gateway.ask(request));
    expect(new X509Certificate(issued).subject).toContain('CN=egm-1');
    expect(certificateOf(await gateway.ask(request)), 'the answer was lost').toEqual(issued);
  });

  test('given an approval for one device, when the request names another one of the inventory, then the approved one is certified', async () => {
    await gateway.register('egm-2');
    const request = enrolRequest(await newDevice('egm-2'));
    await gateway.ask(request);
    await gateway.approve(await gateway.pendingRequest(), 'egm-1');
    expect(new X509Certificate(certificateOf(await gateway.ask(request))).subject).toContain('CN=egm-1');
  });

  test('given a full waiting room, when one more asks, then 503 asks it to wait; those who wait still may ask', async () => {
    const waiting = enrolRequest(await newDevice('egm-a'));
    await gateway.ask(waiting);
    await gateway.ask(enrolRequest(await newDevice('egm-b')));
    const answer = await gateway.ask(enrolRequest(await newDevice('egm-c')));
    expect(errorOf(answer)).toEqual([503, 'enrolment.rate-limited']);
    expect(answer.headers['retry-after']).toBe('2');
    expect((await gateway.ask(waiting)).status).toBe(202);
  });
});

describe('a bad day', () => {
  afterEach(() => gateway.stop());

  test('given the HSM is away, when a device enrols, then 503 says when to come back; after that the same request is served', async () => {
    gateway = await startEstGateway();
    await gateway.register('egm-1');
    const request = enrolRequest(await newDevice('egm-1'), { code: await gateway.ticket('egm-1') });
    gateway.pki.hsm.disconnect('the cable is out', 7);
    const answer = await gateway.ask(request);
    expect(errorOf(answer)).toEqual([503, 'hsm.unavailable']);
    expect(answer.headers['retry-after']).toBe('7');
    expect(answer.body).not.toContain('cable');
    expect((await gateway.ask({ path: '/.well-known/est/cacerts' })).status).toBe(200);
    gateway.pki.hsm.reconnect();
    const der = certificateOf(await gateway.ask(request));
    const detail = await gateway.store.device(DeviceId.parse('egm-1'));
    expect(detail?.certificates.map(({ der: stored }) => stored)).toEqual([Buffer.from(der)]);
  });

  test('given a crash between intent and signature, when the device asks again, then the recorded intent is what is signed', async () => {
    const signing = Promise.withResolvers<undefined>();
    const never = new Promise<Uint8Array>(() => {});
    const hang = (): Promise<Uint8Array> => (signing.resolve(undefined), never);
    gateway = await startEstGateway({ signer: (real) => ({ ...real, sign: hang }), limits: { drainMs: 20 } });
    await gateway.register('egm-1');
    const request = enrolRequest(await newDevice('egm-1'), { code: await gateway.ticket('egm-1') });
    const lost = gateway.ask(request).then(
      () => 'answered',
      () => 'lost',
    );
    await signing.promise;
    const detail = await gateway.store.device(DeviceId.parse('egm-1'));
    const intended = detail?.certificates[0];
    expect(intended?.state).toBe('intended');
    await gateway.restart();
    expect(await lost).toBe('lost');
    const der = certificateOf(await gateway.ask(request));
    expect(serialOf(der).toLowerCase()).toBe(intended?.serial);
    expect(Buffer.from(der).includes(intended?.tbs ?? '?')).toBe(true);
    const another = await gateway.ask({ ...request, body: encodeBase64((await newDevice('egm-1')).csr) });
    expect(errorOf(another)).toEqual([401, 'enrolment.code-invalid']);
  });

  test('given the store is closed, when a device enrols, then 503 and nothing of the inside', async () => {
    gateway = await startEstGateway();
    await gateway.register('egm-1');
    const request = enrolRequest(await newDevice('egm-1'), { code: await gateway.ticket('egm-1') });
    await gateway.store.close();
    const answer = await gateway.ask(request);
    expect(errorOf(answer)).toEqual([503, 'store.unavailable']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(answer.body).not.toMatch(/sqlite|closed/i);
    await gateway.restart();
    certificateOf(await gateway.ask(request));
  });
});
