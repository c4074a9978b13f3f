import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createEventFeed, type FeedEntry } from '#gateway/api/events.ts';
import { GatewayEvent, RolloutView, RolloutList } from '#schema/api/views.ts';
import { KeySetName, RolloutId } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { rolloutId, trust } from '#test/support/store-fixtures.ts';
import { waitUntil } from '#test/support/wait-until.ts';
import { POLICY, parsedJson, problemIn, startApi, type ApiHarness } from './harness.ts';

/** Reads a stream of events as it comes. */
class Reader {
  text = '';
  ended = false;
  readonly response: IncomingMessage;

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => (this.text += chunk));
    response.on('error', () => {});
    response.on('close', () => (this.ended = true));
  }

  get events(): { id: string | undefined; event: string; data: unknown }[] {
    return this.text.split('\n\n').flatMap((block) => {
      const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
      const data = field('data');
      return data === undefined ? [] : [{ id: field('id'), event: field('event') ?? '', data: parsedJson(data) }];
    });
  }
}

const published = (number: number): GatewayEvent => ({ type: 'trust', version: trust(number) });

describe('the event feed', () => {
  test('readers get what is published while they listen', () => {
    const feed = createEventFeed();
    const seen: FeedEntry[] = [];
    feed.publish(published(1));
    const stop = feed.subscribe((entry) => seen.push(entry));
    feed.publish(published(2));
    stop();
    feed.publish(published(3));
    expect(seen.map(({ event }) => event)).toEqual([published(2)]);
  });

  test('who says where it stopped gets the rest; where too much is gone, or the gateway is another, a gap comes first', () => {
    const feed = createEventFeed(2);
    const ids: string[] = [];
    feed.subscribe(({ id }) => ids.push(id));
    for (let number = 1; number <= 4; number += 1) feed.publish(published(number));
    const since = (id: string | undefined): GatewayEvent[] => feed.since(id ?? '').map(({ event }) => event);
    expect(since(ids[3])).toEqual([]);
    expect(since(ids[1])).toEqual([published(3), published(4)]);
    expect(since(ids[0])).toEqual([{ type: 'gap', dropped: 1 }, published(3), published(4)]);
    expect(since('otherfeed-3')).toEqual([{ type: 'gap', dropped: null }, published(3), published(4)]);
    expect(since('nonsense')).toHaveLength(3);
  });
});

describe('event streams of the operator API', () => {
  let api: ApiHarness;
  beforeEach(async () => {
    api = await startApi({ limits: { heartbeatMs: 20, watchMs: 20, streams: 2 } });
  });
  afterEach(() => api.close());

  /** A stream, as soon as there is room for one; `meanwhile` runs before each attempt. */
  const opened = async (meanwhile: () => void): Promise<Reader> => {
    for (;;) {
      meanwhile();
      const response = await api.open('mary', '/v1/events');
      if (response.statusCode === 200) return new Reader(response);
      response.resume();
    }
  };

  test('events arrive as they are published, with heartbeats between', async () => {
    const response = await api.open('mary', '/v1/events');
    expect(response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
    });
    const reader = new Reader(response);
    await waitUntil(
      () => reader.text.includes(': still here'),
      () => 'a heartbeat',
    );
    api.feed.publish(published(1));
    await waitUntil(
      () => reader.events.length === 1,
      () => reader.text,
    );
    expect(reader.events[0]).toMatchObject({ event: 'trust', data: published(1) });
    expect(GatewayEvent.parse(reader.events[0]?.data)).toEqual(published(1));

    response.destroy();
    api.feed.publish(published(2));
    const again = new Reader(await api.open('mary', '/v1/events', { 'last-event-id': reader.events[0]?.id ?? '' }));
    await waitUntil(
      () => again.events.length === 1,
      () => again.text,
    );
    expect(again.events[0]?.data).toEqual(published(2));
    again.response.destroy();
  });

  test('an approval that is asked for is an event', async () => {
    const reader = new Reader(await api.open('hedy', '/v1/events'));
    const tokenHash = 'f'.repeat(64);
    await api.call('ada', 'operator.add', { body: { name: 'edsger', role: 'auditor', tokenHash } });
    await waitUntil(
      () => reader.events.length === 1,
      () => reader.text,
    );
    expect(reader.events[0]?.data).toMatchObject({ type: 'approval', state: 'asked' });
    reader.response.destroy();
  });

  test('streams are limited, and one that ends makes room', async () => {
    const first = new Reader(await api.open('mary', '/v1/events'));
    const second = new Reader(await api.open('mary', '/v1/events'));
    const third = await api.fetch('GET', '/v1/events', { person: 'mary' });
    expect(problemIn(third)).toMatchObject({ status: 429, code: 'operator.rate-limited' });
    first.response.destroy();
    const fourth = await opened(() => {});
    for (const reader of [second, fourth]) reader.response.destroy();
  });

  test('a watched rollout is told at once and whenever it changes, and an unknown one is 404', async () => {
    await api.done('policy.apply', { document: POLICY, replaces: null });
    const rows = [InventoryRow.parse({ id: 'EGM-1', class: 'egm', site: 'main', serial: 'S1', labels: {} })];
    await api.done('device.import', { rows });
    await api.done('keyset.rotate', { keySet: KeySetName.parse('wallet-kek') });
    const id = RolloutId.parse(RolloutList.parse((await api.call('mary', 'rollout.list')).body).items[0]?.id);

    const reader = new Reader(await api.open('mary', `/v1/rollouts/${id}/watch`));
    await waitUntil(
      () => reader.events.length > 0,
      () => reader.text,
    );
    expect(RolloutView.parse(reader.events[0]?.data)).toMatchObject({
      id,
      state: 'approved',
      hold: 'its targets are being recorded',
    });
    const count = reader.events.length;
    await waitUntil(
      () => reader.text.split(': still here').length > 3,
      () => 'heartbeats',
    );
    expect(reader.events).toHaveLength(count);

    const move = (change: Partial<Pick<RolloutRecord, 'state' | 'activatedAt' | 'finishedAt' | 'pause'>>) =>
      api.store.advanceRollout(id, new Date(), (rollout) => {
        if (rollout === undefined) throw new Error('no rollout');
        return { kind: 'advance', rollout: { ...rollout, ...change }, versions: [], due: 'none', audit: [] };
      });
    await move({ state: 'active', activatedAt: new Date() });
    await waitUntil(
      () => reader.events.length > count,
      () => reader.text,
    );
    expect(reader.events.at(-1)?.data).toMatchObject({ state: 'active', hold: null });
    await move({ state: 'destroyed', finishedAt: new Date() });
    await waitUntil(
      () => reader.ended,
      () => reader.text,
    );
    expect(reader.events.at(-1)?.data).toMatchObject({ state: 'destroyed' });

    const unknown = await api.fetch('GET', `/v1/rollouts/${rolloutId(9)}/watch`, { person: 'mary' });
    expect(problemIn(unknown).code).toBe('rollout.not-found');
  });

  test('closing the server ends every stream', async () => {
    const reader = new Reader(await api.open('mary', '/v1/events'));
    await api.server.close();
    await waitUntil(
      () => reader.ended,
      () => reader.text,
    );
  });

  test('a reader that does not read is dropped, and its place is free again', async () => {
    const sleeping = await api.open('mary', '/v1/events');
    sleeping.pause();
    sleeping.on('error', () => {});
    const awake = new Reader(await api.open('mary', '/v1/events'));
    awake.response.destroy();
    const third = await opened(() => {
      for (let index = 0; index < 20_000; index += 1) api.feed.publish(published(index));
    });
    const fourth = await opened(() => {});
    for (const reader of [third, fourth]) reader.response.destroy();
    sleeping.destroy();
  });
});
