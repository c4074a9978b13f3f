import { describe, expect, it } from 'vitest';
import { addresseeOf, decideConnect, decidePublish, decideSubscribe, mayRetain } from '#gateway/broker/access.ts';
import { DeviceId, Realm } from '#schema/ids.ts';

const realm = Realm.parse('prod');
const device = DeviceId.parse('egm-0001');
const publish = (topic: string, change: object = {}): boolean =>
  decidePublish(realm, device, { topic, qos: 1, retain: false, size: 10, ...change }).allowed;
const subscribe = (filter: string): boolean => decideSubscribe(realm, device, filter).allowed;
const connect = (clientId: string, will?: { topic: string; qos: number; size: number }): boolean =>
  decideConnect(realm, { clientId, will }).allowed;

describe('what a device may publish', () => {
  it('is its reports and its status', () => {
    expect(publish('croupier/prod/egm-0001/report')).toBe(true);
    expect(publish('croupier/prod/egm-0001/status')).toBe(true);
  });

  it.each([
    ['a report of another device', 'croupier/prod/egm-0002/report'],
    ['an update, even to itself', 'croupier/prod/egm-0001/update'],
    ['a trust bundle', 'croupier/prod/trust'],
    ['into another realm', 'croupier/test/egm-0001/report'],
    ['into $SYS', '$SYS/broker/clients'],
    ['below its own topic', 'croupier/prod/egm-0001/report/x'],
    ['to a topic in other case', 'croupier/prod/EGM-0001/report'],
  ])('is not %s', (_what, topic) => {
    expect(publish(topic)).toBe(false);
  });

  it('is not retained, except its status, whose flag is dropped later', () => {
    expect(publish('croupier/prod/egm-0001/report', { retain: true })).toBe(false);
    expect(publish('croupier/prod/egm-0001/status', { retain: true })).toBe(true);
  });

  it('is at most QoS 1', () => {
    expect(publish('croupier/prod/egm-0001/report', { qos: 2 })).toBe(false);
  });

  it('is a report of any size that the packet limit allows, but a short status', () => {
    expect(publish('croupier/prod/egm-0001/report', { size: 200_000 })).toBe(true);
    expect(publish('croupier/prod/egm-0001/status', { size: 257 })).toBe(false);
  });
});

describe('what a device may subscribe to', () => {
  it.each(['croupier/prod/egm-0001/update', 'croupier/prod/egm-0001/trust', 'croupier/prod/trust'])(
    'is %s',
    (topic) => {
      expect(subscribe(topic)).toBe(true);
    },
  );

  it.each([
    '#',
    '+/+/+/update',
    'croupier/prod/+/update',
    'croupier/prod/egm-0001/+',
    'croupier/prod/egm-0001/#',
    'croupier/prod/egm-0002/update',
    'croupier/prod/egm-0001/report',
    'croupier/test/trust',
    '$SYS/#',
    '$share/g/croupier/prod/egm-0001/update',
  ])('is not %s', (filter) => {
    expect(subscribe(filter)).toBe(false);
  });
});

describe('how a device may connect', () => {
  const status = 'croupier/prod/egm-0001/status';

  it('is with its device id and, if it likes, a last will on its status topic', () => {
    expect(connect('egm-0001')).toBe(true);
    expect(connect('egm-0001', { topic: status, qos: 1, size: 7 })).toBe(true);
  });

  it.each(['', '__proto__', 'egm/0001', 'egm+', 'a'.repeat(65)])('is not with the client id %j', (clientId) => {
    expect(connect(clientId)).toBe(false);
  });

  it('is not with a will elsewhere, with QoS 2 or of any size', () => {
    expect(connect('egm-0001', { topic: 'croupier/prod/egm-0001/report', qos: 1, size: 7 })).toBe(false);
    expect(connect('egm-0001', { topic: 'croupier/prod/egm-0002/status', qos: 1, size: 7 })).toBe(false);
    expect(connect('egm-0001', { topic: status, qos: 2, size: 7 })).toBe(false);
    expect(connect('egm-0001', { topic: status, qos: 1, size: 257 })).toBe(false);
  });
});

describe('what the gateway may', () => {
  it('retain is the trust topic of its realm alone', () => {
    expect(mayRetain(realm, 'croupier/prod/trust')).toBe(true);
    expect(mayRetain(realm, 'croupier/prod/egm-0001/trust')).toBe(false);
    expect(mayRetain(realm, 'croupier/test/trust')).toBe(false);
  });

  it('address is the device of an update or trust link topic', () => {
    expect(addresseeOf(realm, 'croupier/prod/egm-0001/update')).toBe(device);
    expect(addresseeOf(realm, 'croupier/prod/egm-0001/trust')).toBe(device);
    expect(addresseeOf(realm, 'croupier/prod/trust')).toBeUndefined();
    expect(addresseeOf(realm, 'croupier/test/egm-0001/update')).toBeUndefined();
    expect(addresseeOf(realm, 'croupier/prod/egm-0001/report')).toBeUndefined();
  });
});
