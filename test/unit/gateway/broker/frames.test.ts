import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader, PACKET, type FrameFault } from '#gateway/broker/frames.ts';

const limits = { maxPacketBytes: 1000, maxConnectBytes: 100 };

/** A control packet: type, then the remaining length in as many octets as it needs, then that many zeros. */
function packet(type: number, length: number): Buffer {
  const header = [type << 4];
  let rest = length;
  do {
    header.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from(header), Buffer.alloc(length)]);
}

const connect = packet(PACKET.connect, 20);
const ping = packet(12, 0);

function read(
  chunks: readonly Uint8Array[],
  allow: (type: number) => boolean = () => true,
): { fault: FrameFault | undefined; types: number[] } {
  const types: number[] = [];
  const reader = new FrameReader(limits, (type) => {
    types.push(type);
    return allow(type);
  });
  for (const chunk of chunks) {
    const fault = reader.scan(chunk);
    if (fault !== undefined) return { fault, types };
  }
  return { fault: undefined, types };
}

describe('FrameReader', () => {
  it('given packets cut anywhere, then it sees the type of each', () => {
    const packets = [ping, packet(PACKET.puback, 2), packet(PACKET.publish, 303), packet(8, 127), packet(8, 128)];
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...packets), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }),
        (chosen, cuts) => {
          const stream = Buffer.concat([connect, ...chosen]);
          const chunks: Buffer[] = [];
          for (let at = 0, cut = 0; at < stream.length; cut += 1) {
            const size = cuts[cut % cuts.length] ?? 1;
            chunks.push(stream.subarray(at, at + size));
            at += size;
          }
          const { fault, types } = read(chunks);
          expect(fault).toBeUndefined();
          expect(types).toEqual([PACKET.connect, ...chosen.map((packet) => (packet[0] ?? 0) >> 4)]);
        },
      ),
    );
  });

  it('given a packet of the largest size, then it passes; one octet more is refused at the header', () => {
    const header = (length: number): Buffer => Buffer.from([0x30, (length & 0x7f) | 0x80, length >> 7]);
    expect(read([connect, header(1000)]).fault).toBeUndefined();
    expect(read([connect, header(1001)]).fault).toBe('packet-too-large');
  });

  it('given a CONNECT within its own limit, then it passes; a larger one is refused', () => {
    expect(read([connect, packet(PACKET.publish, 500)]).fault).toBeUndefined();
    expect(read([Buffer.from([0x10, 101])]).fault).toBe('packet-too-large');
  });

  it('given another first packet than CONNECT, then it is refused', () => {
    expect(read([connect, ping]).fault).toBeUndefined();
    expect(read([ping]).fault).toBe('connect-expected');
  });

  it('given a remaining length of more than four octets, then it is refused', () => {
    expect(read([connect, Buffer.from([0x30, 0x80, 0x80, 0x80, 0x00])]).fault).toBeUndefined();
    expect(read([connect, Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80])]).fault).toBe('length-malformed');
  });

  it('given a listener that has had enough, then the packet is refused', () => {
    expect(read([connect, ping], (type) => type === PACKET.connect).fault).toBe('rate-exceeded');
  });
});
