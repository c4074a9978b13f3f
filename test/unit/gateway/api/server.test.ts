import { connect as connectTcp } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandAnswer } from '#schema/api/commands.ts';
import { verifyExport } from '#gateway/audit/verify-export.ts';
import { TicketAnswer } from '#schema/api/routes.ts';
import {
  ApprovalView,
  AuditHeadView,
  DeviceDetailView,
  DevicePage,
  KeySetDetailView,
  KeySetList,
  OperatorList,
  PolicyAnswer,
  PolicyPlanView,
  RolloutList,
  RolloutView,
  SelfView,
  StatusView,
  TargetPage,
  TrustBundleView,
  TrustList,
  AuditPage,
  EnrolmentList,
} from '#schema/api/views.ts';
import { DeviceId, KeySetName } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { enrol, enrolmentId, rolloutId } from '#test/support/store-fixtures.ts';
import { POLICY, problemIn, startApi, type ApiHarness } from './harness.ts';

const row = (id: string, over: Partial<Record<'class' | 'site', string>> = {}): InventoryRow =>
  InventoryRow.parse({ id, class: 'egm', site: 'main', serial: `SN-${id}`, labels: { bank: 'a' }, ...over });

describe('the operator API', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi();
    await api.done('policy.apply', { document: POLICY, replaces: null });
    const rows = [row('EGM-1'), row('EGM-2'), row('EGM-3', { site: 'annex' }), row('SRV-1', { class: 'service' })];
    await api.done('device.import', { rows });
    for (const id of ['EGM-1', 'EGM-2', 'SRV-1']) await enrol(api.store, id);
  });
  afterAll(() => api.close());

  describe('views', () => {
    test('status counts what the store holds and names the HSM, the policy and the trust bundle', async () => {
      const status = StatusView.parse((await api.call('mary', 'status.show')).body);
      expect(status).toMatchObject({
        realm: 'test',
        devices: { total: 4, connected: 0 },
        policy: { version: 1 },
        trust: { version: 1 },
      });
      expect(status.hsm.state).toBe('ready');
    });

    test('self tells the role and what it may', async () => {
      const self = SelfView.parse((await api.call('mary', 'self.show')).body);
      expect(self).toMatchObject({
        name: 'mary',
        role: 'auditor',
        permissions: { 'fleet.view': 'execute', 'audit.read': 'execute' },
      });
      expect(self.permissions['keyset.rotate']).toBeUndefined();
    });

    test('devices are filtered and paged by id', async () => {
      const list = async (query: Record<string, string | number | boolean>): Promise<DevicePage> =>
        DevicePage.parse((await api.call('grace', 'device.list', { query })).body);
      const ids = (page: DevicePage): string[] => page.items.map(({ id }) => id);
      expect(ids(await list({}))).toEqual(['EGM-1', 'EGM-2', 'EGM-3', 'SRV-1']);
      expect(ids(await list({ class: 'service' }))).toEqual(['SRV-1']);
      expect(ids(await list({ site: 'annex' }))).toEqual(['EGM-3']);
      expect(ids(await list({ state: 'registered', connected: false }))).toEqual(['EGM-3']);
      expect(ids(await list({ connected: true }))).toEqual([]);
      const first = await list({ limit: 3 });
      expect(first.next).toBe('EGM-3');
      const second = await list({ limit: 3, after: first.next ?? '' });
      expect([ids(second), second.next]).toEqual([['SRV-1'], null]);
    });

    test('a device is shown with keys, certificates and targets; an unknown one is 404', async () => {
      const detail = DeviceDetailView.parse((await api.call('mary', 'device.show', { params: { id: 'EGM-1' } })).body);
      expect(detail).toMatchObject({
        id: 'EGM-1',
        state: 'enrolled',
        labels: { bank: 'a' },
        certificates: [{ slot: 'current', state: 'issued', issuer: 'device-ca' }],
        keys: [],
        targets: [],
      });
      const problem = problemIn(await api.call('mary', 'device.show', { params: { id: 'EGM-9' } }));
      expect([problem.status, problem.code]).toEqual([404, 'device.not-found']);
    });

    test('key sets never show key bytes, wrapped or not', async () => {
      const list = await api.call('mary', 'keyset.list');
      expect(KeySetList.parse(list.body).items.map(({ name }) => name)).toEqual(['wallet-kek']);
      const shown = await api.call('mary', 'keyset.show', { params: { name: 'wallet-kek' } });
      const [version] = KeySetDetailView.parse(shown.body).versions;
      expect(version).toMatchObject({ version: 1, state: 'active', kek: 'kek-1' });
      const stored = (await api.store.keySet(KeySetName.parse('wallet-kek')))?.versions[0]?.wrapped;
      expect(stored?.length).toBeGreaterThan(32);
      for (const text of [list.text, shown.text]) {
        expect(text).not.toContain('wrapped');
        expect(text).not.toContain(
          Buffer.from(stored ?? [])
            .toString('base64')
            .slice(0, 20),
        );
      }
    });

    test('trust bundles are listed by number and shown with body and CMS', async () => {
      const list = TrustList.parse((await api.call('mary', 'trust.list')).body);
      expect(list).toMatchObject({ latest: 1, items: [{ version: 1, previous: null, anchors: { identity: 1 } }] });
      const bundle = TrustBundleView.parse((await api.call('mary', 'trust.show', { params: { version: 1 } })).body);
      expect(bundle.body.messageSigners.map(({ role }) => role)).toEqual(['current', 'standby']);
      expect(problemIn(await api.call('mary', 'trust.show', { params: { version: 2 } })).code).toBe('trust.not-found');
    });

    test('operators and policy', async () => {
      const operators = OperatorList.parse((await api.call('mary', 'operator.list')).body).items;
      expect(operators.map(({ name }) => name)).toEqual(['ada', 'barbara', 'grace', 'hedy', 'joan', 'mary']);
      const { policy } = PolicyAnswer.parse((await api.call('mary', 'policy.show')).body);
      expect(policy).toMatchObject({ version: 1, document: POLICY });
      const document = POLICY.replace('validity: 30d', 'validity: 60d');
      const plan = PolicyPlanView.parse((await api.call('ada', 'policy.plan', { body: { document } })).body);
      expect(plan.replaces).toBe(policy?.sha256);
      expect(plan.changes).toEqual(['~ classes.egm.validity: 30d -> 60d']);
    });
  });

  describe('commands', () => {
    test('what a role may do at once answers 200 and is done', async () => {
      const body = { reason: 'found open' };
      const answer = await api.call('grace', 'device.quarantine', { params: { id: 'EGM-2' }, body });
      expect([answer.status, CommandAnswer.parse(answer.body)]).toEqual([
        200,
        { state: 'done', result: { device: 'EGM-2', state: 'quarantined' } },
      ]);
      expect((await api.store.deviceRecord(DeviceId.parse('EGM-2')))?.state.kind).toBe('quarantined');
    });

    test('what needs another person answers 202 and has done nothing yet', async () => {
      const answer = await api.call('ada', 'keyset.rotate', { params: { name: 'wallet-kek' } });
      expect([answer.status, CommandAnswer.parse(answer.body).state]).toEqual([202, 'approval-required']);
      expect(RolloutList.parse((await api.call('ada', 'rollout.list')).body).items).toEqual([]);
    });

    test('tickets come with what a ticket file needs, but the code', async () => {
      const tickets = [{ device: 'EGM-1', salt: '0'.repeat(32), codeHash: 'a'.repeat(64) }];
      const answer = await api.call('grace', 'device.ticket', { body: { tickets } });
      expect(answer.status).toBe(200);
      expect(TicketAnswer.parse(answer.body)).toMatchObject({
        answer: { state: 'done' },
        info: { realm: 'test', est: 'https://gateway:8443' },
      });
    });

    test('a batch of tickets above the limit waits for approval', async () => {
      const rows = Array.from({ length: 51 }, (_, index) => row(`BULK-${index}`));
      const imported = await api.call('grace', 'device.import', { body: { rows } });
      expect(imported.status).toBe(202);
      expect((await api.call('grace', 'device.import', { body: { rows: rows.slice(0, 50) } })).status).toBe(200);
    });

    test('a rollout is shown with its progress and what holds it', async () => {
      await api.done('keyset.rotate', { keySet: KeySetName.parse('wallet-kek') });
      await api.settle();
      const [summary] = RolloutList.parse(
        (await api.call('mary', 'rollout.list', { query: { open: true } })).body,
      ).items;
      const params = { id: summary?.id ?? '' };
      const view = RolloutView.parse((await api.call('mary', 'rollout.show', { params })).body);
      expect(view).toMatchObject({ keySet: 'wallet-kek', fromVersion: 1, toVersion: 2, state: 'distributing' });
      expect(view.hold).toMatch(/^wave wave-1: 0 of 1 targets needed for a judgement were executed; 2 are offline$/);
      const page = TargetPage.parse((await api.call('mary', 'rollout.targets', { params, query: { limit: 2 } })).body);
      expect([page.items.length, page.next]).toEqual([2, page.items[1]?.device]);
      const retire = problemIn(await api.call('ada', 'keyset.retire', { params }));
      expect([retire.status, retire.code]).toEqual([409, 'rollout.state-refused']);
      expect(problemIn(await api.call('mary', 'rollout.show', { params: { id: rolloutId(9) } })).code).toBe(
        'rollout.not-found',
      );
      expect(problemIn(await api.call('mary', 'rollout.targets', { params: { id: rolloutId(9) } })).code).toBe(
        'rollout.not-found',
      );
    });

    test('an unknown enrolment request cannot be approved', async () => {
      expect(EnrolmentList.parse((await api.call('grace', 'enrolment.list')).body).items).toEqual([]);
      const answer = await api.call('grace', 'enrolment.approve', { params: { id: enrolmentId(1) }, body: {} });
      expect(problemIn(answer).status).toBeGreaterThanOrEqual(400);
    });
  });

  describe('the audit trail', () => {
    test('records are paged, the head tells where the trail ends', async () => {
      const first = AuditPage.parse((await api.call('mary', 'audit.records', { query: { limit: 3 } })).body);
      expect([first.items.map(({ seq }) => seq), first.next]).toEqual([[1, 2, 3], 3]);
      const second = AuditPage.parse((await api.call('mary', 'audit.records', { query: { limit: 3, after: 3 } })).body);
      expect(second.items[0]).toMatchObject({ seq: 4, prevHash: first.items[2]?.hash });
      const head = AuditHeadView.parse((await api.call('hedy', 'audit.head')).body);
      expect(head).toMatchObject(await api.store.auditHead());
    });

    test('the export verifies without the gateway, is sealed to its end, and tells who made it', async () => {
      const answer = await api.call('mary', 'audit.export');
      expect(answer.headers['content-type']).toBe('application/jsonl; charset=utf-8');
      const lines = answer.text.trimEnd().split('\n');
      const result = await verifyExport(lines, { root: api.pki.root.certificate });
      expect(result).toMatchObject({ fromTheStart: true, unsealed: 0, root: { pinned: true } });
      expect(result.sealed?.seq).toBe(result.last);
      expect(lines.at(-2)).toContain('"action":"audit.export"');
      await expectRefusal('audit.broken', () => verifyExport(lines.slice(0, -2), { root: api.pki.root.certificate }));
      const later = await api.call('mary', 'audit.export', { query: { first: 5 } });
      expect(await verifyExport(later.text.trimEnd().split('\n'))).toMatchObject({ first: 5, fromTheStart: false });
    });

    test('an export from beyond the end is a problem, not half a file', async () => {
      expect(problemIn(await api.call('mary', 'audit.export', { query: { first: 100_000 } }))).toMatchObject({
        status: 400,
        code: 'input.invalid',
      });
    });
  });

  describe('bad input', () => {
    test('names the field and shows no value', async () => {
      const body = { rows: [{ ...row('EGM-7'), id: 'not an id, but s3cret' }] };
      const answer = await api.call('grace', 'device.import', { body });
      expect(problemIn(answer)).toMatchObject({
        status: 400,
        code: 'input.invalid',
        detail: 'body rows.0.id: not a device id',
      });
      expect(answer.text).not.toContain('s3cret');
    });

    test('broken JSON, a wrong type of content and an empty body are told apart', async () => {
      const post = (raw: string, headers = {}) =>
        api.fetch('POST', '/v1/devices/import', { person: 'grace', raw, headers });
      expect(problemIn(await post('{"rows": s3cret')).code).toBe('json.malformed');
      expect(problemIn(await post('a=b', { 'content-type': 'application/x-www-form-urlencoded' })).detail).toMatch(
        'application/json',
      );
      expect(problemIn(await post('')).code).toBe('json.malformed');
      expect(problemIn(await post('{"__proto__": {"admin": true}}')).code).toBe('json.malformed');
      expect(problemIn(await api.fetch('POST', '/v1/devices/import', { person: 'grace' })).detail).toMatch('body rows');
    });

    test('bodies have a limit, a larger one for imports', async () => {
      const over = (bytes: number): string => JSON.stringify({ reason: 'x'.repeat(bytes) });
      const quarantine = await api.fetch('POST', '/v1/devices/EGM-1/quarantine', {
        person: 'grace',
        raw: over(1024 * 1024),
      });
      expect(problemIn(quarantine)).toMatchObject({ status: 413, code: 'input.too-large' });
      const within = await api.fetch('POST', '/v1/devices/import', { person: 'grace', raw: over(2 * 1024 * 1024) });
      expect(problemIn(within).code).toBe('input.invalid');
      const import9 = await api
        .fetch('POST', '/v1/devices/import', { person: 'grace', raw: over(9 * 1024 * 1024) })
        .catch(() => undefined);
      if (import9 !== undefined) expect(problemIn(import9).status).toBe(413);
    });

    test('an unknown path, a wrong method and a path that is none', async () => {
      for (const [method, path] of [
        ['GET', '/v1/nothing'],
        ['DELETE', '/v1/devices/EGM-1'],
        ['GET', '/v1/devices/%zz'],
        ['GET', '/../etc/passwd'],
      ] as const) {
        expect(problemIn(await api.fetch(method, path, { person: 'mary' })).status).toBeLessThan(500);
      }
    });

    test('policies with a fault are refused with its key', async () => {
      const body = { document: 'version: 1\nclasses: {}\nkeysets: {}\n' };
      expect(problemIn(await api.call('ada', 'policy.plan', { body }))).toMatchObject({
        status: 400,
        code: 'config.invalid',
      });
    });
  });

  describe('the edge', () => {
    test('every answer forbids caching, framing and guessing', async () => {
      for (const answer of [
        await api.call('mary', 'status.show'),
        await api.fetch('GET', '/v1/nothing'),
        await api.fetch('GET', '/v1/status'),
      ]) {
        expect(answer.headers).toMatchObject({
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
          'strict-transport-security': 'max-age=31536000',
        });
      }
    });

    test('when the HSM is away a command that needs it answers 503 with Retry-After, and later works', async () => {
      const asked = CommandAnswer.parse((await api.call('ada', 'trust.publish', { body: {} })).body);
      if (asked.state !== 'approval-required') throw new Error('it must wait for an approval');
      const { id, sha256 } = asked.approval;
      api.pki.hsm.disconnect('unplugged', 7);
      const away = await api.call('hedy', 'approval.approve', { params: { id }, body: { sha256 } });
      expect(problemIn(away)).toMatchObject({ status: 503, code: 'hsm.unavailable', retryAfter: 7 });
      expect(away.headers['retry-after']).toBe('7');
      expect(StatusView.parse((await api.call('mary', 'status.show')).body).hsm.state).toBe('unavailable');
      api.pki.hsm.reconnect();
      expect(ApprovalView.parse((await api.call('hedy', 'approval.show', { params: { id } })).body).state).toBe(
        'failed',
      );
      await api.done('trust.publish', { anchors: {} });
      expect(TrustList.parse((await api.call('mary', 'trust.list')).body).latest).toBe(2);
    });

    test('a fault that has no name says nothing about itself, but the log does', async () => {
      const devices = () => Promise.reject(new Error('s3cret at /srv/croupier.ts:12'));
      const faulty = await startApi({ served: (store) => ({ ...store, devices }) });
      try {
        const answer = await faulty.call('mary', 'device.list');
        expect(problemIn(answer)).toMatchObject({ status: 500, code: 'internal.unexpected' });
        expect(answer.text).not.toMatch(/s3cret|croupier\.ts|stack/);
        expect(faulty.logged.some(({ message }) => message.includes('s3cret'))).toBe(true);
        expect((await faulty.call('mary', 'keyset.list')).status).toBe(200);
      } finally {
        await faulty.close();
      }
    });

    test('a port that is taken is named', async () => {
      const refusal = await expectRefusal('port.in-use', () => startApi({ port: api.server.port }));
      expect(refusal.message).toContain(String(api.server.port));
    });

    test('a key that does not fit its certificate is refused, and the old one goes on serving', async () => {
      await expectRefusal('config.invalid', async () => api.server.replaceTls({ key: 'none', cert: 'none' }));
      expect((await api.call('mary', 'status.show')).status).toBe(200);
    });

    test('plain HTTP gets no answer', async () => {
      const reply = await new Promise<string>((resolve) => {
        const socket = connectTcp(api.server.port, '127.0.0.1', () =>
          socket.write('GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n'),
        );
        let text = '';
        socket.on('data', (chunk) => (text += chunk.toString('latin1')));
        socket.on('error', () => {});
        socket.on('close', () => resolve(text));
      });
      expect(reply).not.toContain('HTTP/1.1');
    });
  });
});
