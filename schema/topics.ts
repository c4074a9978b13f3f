/** MQTT topics (D§7). The broker's access rule is `mayPublish` and `maySubscribe`; nothing else is open to a device. */
import type { DeviceId, Realm } from './ids.ts';
import { DeviceId as DeviceIdSchema } from './ids.ts';

const PREFIX = 'croupier';

/** Updates to one device. */
export const updateTopic = (realm: Realm, device: DeviceId): string => `${PREFIX}/${realm}/${device}/update`;
/** Trust bundles that one device has missed, in order. */
export const trustLinkTopic = (realm: Realm, device: DeviceId): string => `${PREFIX}/${realm}/${device}/trust`;
/** Reports from one device. */
export const reportTopic = (realm: Realm, device: DeviceId): string => `${PREFIX}/${realm}/${device}/report`;
/** Last will of one device: unsigned, a hint only. */
export const statusTopic = (realm: Realm, device: DeviceId): string => `${PREFIX}/${realm}/${device}/status`;
/** The latest trust bundle, retained. */
export const trustTopic = (realm: Realm): string => `${PREFIX}/${realm}/trust`;

export const reportTopicFilter = (realm: Realm): string => `${PREFIX}/${realm}/+/report`;
export const statusTopicFilter = (realm: Realm): string => `${PREFIX}/${realm}/+/status`;

export function mayPublish(realm: Realm, device: DeviceId, topic: string): boolean {
  return topic === reportTopic(realm, device) || topic === statusTopic(realm, device);
}

export function maySubscribe(realm: Realm, device: DeviceId, filter: string): boolean {
  return (
    filter === updateTopic(realm, device) || filter === trustLinkTopic(realm, device) || filter === trustTopic(realm)
  );
}

/** The device that a report or status topic of this realm belongs to. */
export function deviceOfTopic(realm: Realm, topic: string): DeviceId | undefined {
  const [prefix, topicRealm, device, kind, ...rest] = topic.split('/');
  if (prefix !== PREFIX || topicRealm !== realm || rest.length > 0) return undefined;
  if (kind !== 'report' && kind !== 'status') return undefined;
  const parsed = DeviceIdSchema.safeParse(device);
  return parsed.success ? parsed.data : undefined;
}
