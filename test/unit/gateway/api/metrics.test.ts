import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KeySetName } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { connect, enrol } from '#test/support/store-fixtures.ts';
import { POLICY, startApi, type ApiHarness } from './harness.ts';

describe('metrics', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi();
    await api.done('policy.apply', { document: POLICY, replaces: null });
    const rows = ['EGM-1', 'EGM-2', 'EGM-3'].map((id) =>
      InventoryRow.parse({ id, class: 'egm', site: 'main', serial: id, labels: {} }),
    );
    await api.done('device.import', { rows });
    for (const id of ['EGM-1', 'EGM-2']) await enrol(api.store, id);
    await connect(api.store, 'EGM-1');
    await api.done('keyset.rotate', { keySet: KeySetName.parse('wallet-kek') });
    await api.settle();
  });
  afterAll(() => api.close());

  const scrape = async (): Promise<string> => {
    const answer = await api.call('mary', 'metrics.show');
    expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    return answer.text;
  };

  test('gauges tell the state of the store and of the HSM at the moment of the scrape', async () => {
    const text = await scrape();
    expect(text).toContain('croupier_devices{state="enrolled"} 2');
    expect(text).toContain('croupier_devices{state="registered"} 1');
    expect(text).toContain('croupier_devices_connected 1');
    expect(text).toContain('croupier_hsm_up 1');
    expect(text).toContain('croupier_rollouts_open{kind="key-version",state="distributing"} 1');
    expect(text).not.toMatch(/^croupier_rollouts_paused\{/m);
    const labels = '\\{rollout="[0-9a-f-]{36}",kind="key-version",key_set="wallet-kek",version="2"';
    expect(text).toMatch(new RegExp(`^croupier_rollout_targets${labels},state="pending"\\} 2$`, 'm'));
    expect(text).toMatch(new RegExp(`^croupier_rollout_wave${labels}\\} 1$`, 'm'));
    expect(text).toMatch(new RegExp(`^croupier_rollout_targets_offline${labels}\\} 1$`, 'm'));
    expect(text).toMatch(new RegExp(`^croupier_rollout_holds${labels},reason="wave-waiting"\\} 1$`, 'm'));
    expect(text).toContain('croupier_key_sets{rotation="under-way"} 1');
    expect(text).toContain(`croupier_audit_records ${(await api.store.auditHead()).seq}`);
    await api.checkpointer.seal();
    api.pki.hsm.disconnect('unplugged');
    const later = await scrape();
    api.pki.hsm.reconnect();
    expect(later).toContain('croupier_hsm_up 0');
    expect(later).toContain('croupier_audit_unsealed_records 0');
  });

  test('counters count what the use cases and the edges tell', async () => {
    const { metrics, est } = api.metrics;
    metrics.reports('accepted');
    metrics.reports('accepted');
    metrics.updates('sent');
    metrics.trustLinks();
    metrics.enrolments('issue');
    metrics.connections('denied');
    est.requests('simpleenroll', 200);
    await api.call('mary', 'device.show', { params: { id: 'EGM-9' } });
    const text = await scrape();
    expect(text).toContain('croupier_reports_total{outcome="accepted"} 2');
    expect(text).toContain('croupier_updates_total{kind="sent"} 1');
    expect(text).toContain('croupier_trust_links_total 1');
    expect(text).toContain('croupier_enrolments_total{outcome="issue"} 1');
    expect(text).toContain('croupier_mqtt_connections_total{outcome="denied"} 1');
    expect(text).toContain('croupier_est_requests_total{operation="simpleenroll",status="200"} 1');
    expect(text).toContain('croupier_api_requests_total{route="/v1/devices/:id",status="404"} 1');
    expect(text).toMatch(/^nodejs_eventloop_lag_p99_seconds /m);
    expect(text).toMatch(/^process_resident_memory_bytes /m);
  });

  test('the documentation lists every metric of ours, and no other', async () => {
    const documentation = await readFile(new URL('../../../../docs/metrics.md', import.meta.url), 'utf8');
    const documented = new Set([...documentation.matchAll(/`(croupier_[a-z_]+)`/g)].map(([, name]) => name));
    const real = new Set([...(await scrape()).matchAll(/^# TYPE (croupier_[a-z_]+) /gm)].map(([, name]) => name));
    expect(documented).toEqual(real);
    expect(real.size).toBeGreaterThan(10);
  });
});
