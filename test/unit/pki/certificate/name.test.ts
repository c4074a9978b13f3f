import { describe, expect, test } from 'vitest';
import { encodeName, parseName } from '#pki/certificate/name.ts';
import { oid, printableString, sequence, setOf, tlv } from '#pki/der/writer.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

describe('distinguished names', () => {
  test('given a full name, then parsing gives back what was encoded', () => {
    const name = { commonName: 'egm-0001', organizationalUnit: 'egm', organization: 'Casino Nürnberg' };
    expect(parseName(encodeName(name))).toEqual({ ...name, serialNumber: undefined });
  });

  test('given a name of 64 characters, then it is encoded; given 65, it is refused', async () => {
    expect(parseName(encodeName({ commonName: 'é'.repeat(64) })).commonName).toBe('é'.repeat(64));
    await expectRefusal('input.invalid', () => encodeName({ commonName: 'é'.repeat(65) }));
  });

  test.each(['', 'a\nb', 'a\u0000b', '\ud800'])('given the text %j, then it is refused', async (commonName) => {
    await expectRefusal('input.invalid', () => encodeName({ commonName }));
  });

  test('given the string types and attributes that manufacturers use, then they are read', () => {
    const bmp = tlv(0x1e, Buffer.from('Gerät', 'utf16le').swap16());
    const name = sequence(
      setOf(sequence(oid('2.5.4.6'), printableString('AT'))),
      setOf(sequence(oid('2.5.4.10'), bmp)),
      setOf(
        sequence(oid('2.5.4.3'), tlv(0x14, Buffer.from('Gerät', 'latin1'))),
        sequence(oid('2.5.4.5'), printableString('SN-42')),
      ),
    );
    expect(parseName(name)).toEqual({
      commonName: 'Gerät',
      organization: 'Gerät',
      organizationalUnit: undefined,
      serialNumber: 'SN-42',
    });
  });

  test('given broken UTF-8 or too many attributes, then the name is refused', async () => {
    const one = (value: Uint8Array): Uint8Array => setOf(sequence(oid('2.5.4.3'), value));
    await expectRefusal('der.malformed', () => parseName(sequence(one(tlv(0x0c, Buffer.from([0xff]))))));
    const many = Array.from({ length: 33 }, () => one(printableString('x')));
    await expectRefusal('der.malformed', () => parseName(sequence(...many)));
    expect(parseName(sequence(...many.slice(1))).commonName).toBe('x');
  });
});
