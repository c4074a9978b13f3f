/**
 * What a device may do at the broker: pure rules over `schema/topics.ts`, one place for all that the embedded broker
 * refuses. A device reaches its own topics and the realm's trust topic, nothing else.
 */
import { DeviceId, type Realm } from '#schema/ids.ts';
import {
  maySubscribe,
  mayPublish,
  reportTopic,
  statusTopic,
  trustLinkTopic,
  trustTopic,
  updateTopic,
} from '#schema/topics.ts';

export type Verdict = { readonly allowed: true } | { readonly allowed: false; readonly reason: string };

const ALLOWED: Verdict = { allowed: true };
const refuse = (reason: string): Verdict => ({ allowed: false, reason });

/** Bytes of a status payload or last will: the words `online` and `offline`, with room. */
export const MAXIMUM_STATUS_BYTES = 256;

export interface ConnectRequest {
  readonly clientId: string;
  readonly will: { readonly topic: string; readonly qos: number; readonly size: number } | undefined;
}

/** Whether a CONNECT is shaped as a device's: its id a device id, its will on its own status topic. */
export function decideConnect(realm: Realm, request: ConnectRequest): Verdict {
  const device = DeviceId.safeParse(request.clientId);
  if (!device.success) return refuse('the client id is not a device id');
  if (request.will === undefined) return ALLOWED;
  if (request.will.topic !== statusTopic(realm, device.data)) return refuse('the will is not on the own status topic');
  if (request.will.qos > 1) return refuse('the will asks for QoS 2');
  if (request.will.size > MAXIMUM_STATUS_BYTES) return refuse('the will is too large');
  return ALLOWED;
}

export interface PublishRequest {
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly size: number;
}

/**
 * Whether `device` may publish this. A retained status is let through because the same agent also speaks to external
 * brokers, where it carries presence; the embedded broker clears the flag and stores nothing.
 */
export function decidePublish(realm: Realm, device: DeviceId, request: PublishRequest): Verdict {
  if (!mayPublish(realm, device, request.topic)) return refuse('the topic is not one the device may publish on');
  if (request.qos > 1) return refuse('QoS 2 is not offered');
  if (request.topic === reportTopic(realm, device)) {
    return request.retain ? refuse('devices retain nothing but their status') : ALLOWED;
  }
  return request.size > MAXIMUM_STATUS_BYTES ? refuse('the status is too large') : ALLOWED;
}

/** Whether `device` may subscribe to this filter; wildcards and `$SYS` never match what is allowed. */
export function decideSubscribe(realm: Realm, device: DeviceId, filter: string): Verdict {
  return maySubscribe(realm, device, filter) ? ALLOWED : refuse('the filter is not one the device may subscribe to');
}

/** Only the latest trust bundle is retained: everything else would outlive the state it was computed from. */
export function mayRetain(realm: Realm, topic: string): boolean {
  return topic === trustTopic(realm);
}

/** The one device that a topic of the gateway addresses; undefined for a topic of the whole realm. */
export function addresseeOf(realm: Realm, topic: string): DeviceId | undefined {
  const device = DeviceId.safeParse(topic.split('/')[2]);
  if (!device.success) return undefined;
  const own = topic === updateTopic(realm, device.data) || topic === trustLinkTopic(realm, device.data);
  return own ? device.data : undefined;
}
