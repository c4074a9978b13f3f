/**
 * The persistence behind aedes: retained messages and wills in memory, nothing else. Every session is clean, so there
 * is no offline queue that could grow and no subscription that could outlive its connection.
 */
import { Readable } from 'node:stream';
import type { AedesPublishPacket, PublishPacket } from 'aedes';

interface ClientRef {
  readonly id: string;
}

export class CleanSessions {
  private readonly retained = new Map<string, AedesPublishPacket>();
  private readonly wills = new Map<string, PublishPacket>();

  /** aedes insists on an async function here. */
  async setup(): Promise<void> {}

  async storeRetained(packet: AedesPublishPacket): Promise<void> {
    if (packet.payload.length === 0) this.retained.delete(packet.topic);
    else this.retained.set(packet.topic, packet);
  }

  createRetainedStreamCombi(topics: readonly string[]): Readable {
    return Readable.from(topics.flatMap((topic) => this.retained.get(topic) ?? []));
  }

  async subscriptionsByTopic(): Promise<readonly never[]> {
    return [];
  }
  async subscriptionsByClient(): Promise<readonly never[]> {
    return [];
  }
  async cleanSubscriptions(): Promise<void> {}
  async outgoingEnqueueCombi(): Promise<void> {}
  async outgoingClearMessageId(): Promise<void> {}
  outgoingStream(): Readable {
    return Readable.from([]);
  }

  /** QoS 2 is refused before it gets here. */
  async incomingGetPacket(): Promise<never> {
    throw new Error('QoS 2 is not offered');
  }

  async putWill(client: ClientRef, will: PublishPacket): Promise<void> {
    this.wills.set(client.id, will);
  }
  async delWill(client: ClientRef): Promise<void> {
    this.wills.delete(client.id);
  }
  /** The wills of other brokers of a cluster: there are none. */
  streamWill(): Readable {
    return Readable.from([]);
  }
}
