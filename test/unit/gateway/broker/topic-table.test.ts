import { describe, expect, it } from 'vitest';
import type { AedesPublishPacket } from 'aedes';
import { TopicTable, type Deliver } from '#gateway/broker/topic-table.ts';

const packet = (topic: string): AedesPublishPacket => ({
  cmd: 'publish',
  topic,
  payload: Buffer.from('x'),
  qos: 1,
  retain: false,
  dup: false,
  brokerId: '',
  brokerCounter: 0,
});
const emit = (table: TopicTable, topic: string): Promise<void> =>
  new Promise((done) => table.emit(packet(topic), () => done()));

describe('TopicTable', () => {
  it('given subscribers, then each gets what its topic carries, and nothing else', async () => {
    const table = new TopicTable();
    const heard: string[] = [];
    const listen =
      (name: string): Deliver =>
      ({ topic }) =>
        heard.push(`${name}:${topic}`);
    table.on('a', listen('1')).on('b', listen('2')).on('b', listen('3'));
    await emit(table, 'a');
    await emit(table, 'b');
    await emit(table, 'c');
    expect(heard).toEqual(['1:a', '2:b', '3:b']);
  });

  it('given a subscriber that never finishes, then the others are served', async () => {
    const table = new TopicTable();
    let served = 0;
    for (let i = 0; i < 1000; i += 1) table.on('trust', () => (served += 1));
    await emit(table, 'trust');
    expect(served).toBe(1000);
  });

  it('given a subscriber that leaves, then it hears no more and the topic is forgotten', async () => {
    const table = new TopicTable();
    let heard = 0;
    const one: Deliver = () => (heard += 1);
    const other: Deliver = () => (heard += 10);
    table.on('a', one).on('a', other).removeListener('a', one);
    await emit(table, 'a');
    expect(heard).toBe(10);
    table.removeListener('a', other);
    expect(table.has('a')).toBe(false);
  });

  it('given a wildcard, then it is a topic like any other', async () => {
    const table = new TopicTable();
    let heard = 0;
    table.on('a/+', () => (heard += 1)).on('#', () => (heard += 1));
    await emit(table, 'a/b');
    expect(heard).toBe(0);
  });
});
