/** X.501 distinguished names (RFC 5280, 4.1.2.4): Croupier writes O, OU, CN; it reads what manufacturers write too. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import { readSequence, type DerReader } from '#pki/der/reader.ts';
import { oid, sequence, setOf, utf8String, type Der } from '#pki/der/writer.ts';

export interface DistinguishedName {
  readonly commonName: string;
  readonly organizationalUnit?: string;
  readonly organization?: string;
}

/** What a name that somebody else wrote may hold; the first value of each attribute. */
export interface ParsedName {
  readonly commonName: string | undefined;
  readonly organizationalUnit: string | undefined;
  readonly organization: string | undefined;
  /** The serialNumber attribute (2.5.4.5), which IDevID certificates carry (IEEE 802.1AR). */
  readonly serialNumber: string | undefined;
}

/** Upper bound of commonName, organizationalUnitName and organizationName (RFC 5280, appendix A.1). */
const MAXIMUM_LENGTH = 64;
const MAXIMUM_ATTRIBUTES = 32;

function attribute(type: string, value: string, what: string): Der {
  const length = Array.from(value).length;
  if (length === 0 || length > MAXIMUM_LENGTH || /\p{Cc}/u.test(value) || !value.isWellFormed()) {
    throw new CroupierError(
      'input.invalid',
      `${what} must be 1 to ${MAXIMUM_LENGTH} characters without control characters`,
    );
  }
  return setOf(sequence(oid(type), utf8String(value)));
}

/**
 * The Name, DER, most general attribute first (O, OU, CN), every value a UTF8String.
 * Errors: `input.invalid` for an empty or oversized value or one with control characters.
 */
export function encodeName(name: DistinguishedName): Der {
  const parts: Der[] = [];
  if (name.organization !== undefined) parts.push(attribute(OID.organization, name.organization, 'organization'));
  if (name.organizationalUnit !== undefined) {
    parts.push(attribute(OID.organizationalUnit, name.organizationalUnit, 'organizational unit'));
  }
  parts.push(attribute(OID.commonName, name.commonName, 'common name'));
  return sequence(...parts);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
const utf16 = new TextDecoder('utf-16be', { fatal: true });

function decodeText(tag: number, content: Uint8Array): string | undefined {
  switch (tag) {
    case 0x0c:
      return utf8.decode(content);
    case 0x1e:
      return utf16.decode(content);
    case 0x12: // NumericString
    case 0x13: // PrintableString
    case 0x14: // TeletexString, in practice Latin-1
    case 0x16: // IA5String
      return Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1');
    default:
      return undefined;
  }
}

function readAttributes(rdn: DerReader, values: Map<string, string>): void {
  while (!rdn.done) {
    const pair = rdn.sequence('attribute');
    const type = pair.oid('attribute type');
    const { tag, content } = pair.next();
    pair.end('attribute');
    let text: string | undefined;
    try {
      text = decodeText(tag, content);
    } catch (error) {
      throw new CroupierError('der.malformed', 'malformed DER: a name holds text in a wrong encoding', {
        cause: error,
      });
    }
    if (text !== undefined && !values.has(type)) values.set(type, text);
  }
}

/** Reads a Name, DER, with any attributes and string types. Errors: `der.malformed`. */
export function parseName(der: Uint8Array): ParsedName {
  const values = new Map<string, string>();
  const rdns = readSequence(der, 'name');
  for (let count = 0; !rdns.done; count += 1) {
    if (count >= MAXIMUM_ATTRIBUTES)
      throw new CroupierError('der.malformed', 'malformed DER: the name has too many attributes');
    readAttributes(rdns.set('relative distinguished name'), values);
  }
  return {
    commonName: values.get(OID.commonName),
    organizationalUnit: values.get(OID.organizationalUnit),
    organization: values.get(OID.organization),
    serialNumber: values.get(OID.serialNumber),
  };
}
