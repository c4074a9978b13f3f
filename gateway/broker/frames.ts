/**
 * MQTT fixed headers (MQTT 3.1.1, 2.2) read from the byte stream before any packet is assembled, so that an oversized
 * packet ends the connection at its header and a flood is counted before it is parsed.
 */

/** Control packet types (MQTT 3.1.1, 2.2.1) that the broker looks at here. */
export const PACKET = { connect: 1, publish: 3, puback: 4, disconnect: 14 } as const;

export type FrameFault = 'connect-expected' | 'length-malformed' | 'packet-too-large' | 'rate-exceeded';

export interface FrameLimits {
  readonly maxPacketBytes: number;
  /** For the CONNECT packet, which comes before anything is known of the client. */
  readonly maxConnectBytes: number;
}

const MAXIMUM_LENGTH_BYTES = 4;

export class FrameReader {
  private readonly limits: FrameLimits;
  private readonly onPacket: (type: number) => boolean;
  private connected = false;
  private type = 0;
  private length = 0;
  private lengthBytes = 0;
  private state: 'header' | 'length' | 'body' = 'header';
  private missing = 0;

  /** `onPacket` hears the type of every packet at its header; answering false means `rate-exceeded`. */
  constructor(limits: FrameLimits, onPacket: (type: number) => boolean) {
    this.limits = limits;
    this.onPacket = onPacket;
  }

  /** Follows the stream through one chunk. After a fault the stream is lost and must be cut. */
  scan(chunk: Uint8Array): FrameFault | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (this.state === 'body') {
        const skip = Math.min(this.missing, chunk.length - at);
        this.missing -= skip;
        at += skip;
        if (this.missing === 0) this.state = 'header';
        continue;
      }
      const octet = chunk[at] ?? 0;
      at += 1;
      const fault = this.state === 'header' ? this.header(octet) : this.lengthOctet(octet);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  private header(octet: number): FrameFault | undefined {
    this.type = octet >> 4;
    if (!this.connected && this.type !== PACKET.connect) return 'connect-expected';
    this.length = 0;
    this.lengthBytes = 0;
    this.state = 'length';
    return this.onPacket(this.type) ? undefined : 'rate-exceeded';
  }

  private lengthOctet(octet: number): FrameFault | undefined {
    this.length += (octet & 0x7f) * 128 ** this.lengthBytes;
    this.lengthBytes += 1;
    if (this.length > (this.connected ? this.limits.maxPacketBytes : this.limits.maxConnectBytes))
      return 'packet-too-large';
    if ((octet & 0x80) !== 0) return this.lengthBytes < MAXIMUM_LENGTH_BYTES ? undefined : 'length-malformed';
    this.connected = true;
    this.missing = this.length;
    this.state = this.length === 0 ? 'header' : 'body';
    return undefined;
  }
}
