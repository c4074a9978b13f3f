import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { validateChain, type ChainTrust } from '#pki/certificate/chain.ts';
import {
  CA,
  DEVICE,
  OpensslPki,
  SIGNER,
  flipped,
  type IssueOptions,
  type Issued,
} from '#test/unit/pki/cms/openssl-pki.ts';

/** An hour from now, so that certificates made during the test are valid. */
const NOW = new Date(Date.now() + 3_600_000);
const daysFromNow = (days: number): Date => new Date(NOW.getTime() + days * 86_400_000);
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

let pki: OpensslPki;
let root: Issued;
let intermediate: Issued;
let leaf: Issued;

beforeAll(() => {
  pki = new OpensslPki();
  root = pki.issue('root', { days: 300 });
  intermediate = pki.issue('intermediate', { by: root, days: 200 });
  leaf = pki.issue('leaf', { by: intermediate, extensions: DEVICE, days: 100 });
});
afterAll(() => pki[Symbol.dispose]());

const coded = (code: string): unknown => expect.objectContaining({ code });
const ders = (issued: readonly Issued[]): Uint8Array[] => issued.map(({ certificate }) => certificate);

/** Validates `end` at the time of the test unless told otherwise. */
const validating =
  (end: Issued, through: readonly Issued[], to: readonly Issued[], trust: Partial<ChainTrust> = {}) =>
  () =>
    validateChain(end.certificate, ders(through), { anchors: ders(to), at: NOW, ...trust });

describe('a chain is valid', () => {
  test('to a root through an intermediate, and tells its path and time', () => {
    const chain = validating(leaf, [intermediate], [root])();
    expect(chain.path).toEqual(ders([leaf, intermediate, root]));
    expect(chain.leaf.subject).toBe('CN=leaf');
    const x509 = new X509Certificate(leaf.certificate);
    expect(chain.notAfter).toEqual(x509.validToDate);
    expect(chain.notBefore).toEqual(x509.validFromDate);
  });

  test('to an anchor that is an intermediate', () => {
    expect(validating(leaf, [], [intermediate])().path).toEqual(ders([leaf, intermediate]));
  });

  test('with needless certificates in any order', () => {
    const stranger = pki.issue('stranger');
    expect(validating(leaf, [stranger, root, leaf, intermediate], [stranger, root])().path).toHaveLength(3);
  });

  test('for every kind of key', () => {
    for (const key of ['EC-P384', 'RSA-2048'] as const) {
      const ca = pki.issue(`ca-${key}`, { key });
      expect(validating(pki.issue('leaf', { by: ca, key, extensions: SIGNER }), [], [ca])).not.toThrow();
    }
  });

  test('through a cross certificate to the old root', () => {
    const newRoot = pki.issue('new-root');
    const newWithOld = pki.issue('new-root', { by: root, keyOf: newRoot });
    const end = pki.issue('end', { by: newRoot, extensions: SIGNER });
    expect(validating(end, [], [root])).toThrow(coded('certificate.untrusted'));
    expect(validating(end, [newWithOld], [root])().path).toHaveLength(3);
    expect(validating(end, [newWithOld], [newRoot])().path).toHaveLength(2);
  });

  test('over another path when the first one found breaks a rule', () => {
    const ca = pki.issue('two-faced', { by: root, extensions: [...CA, 'extendedKeyUsage=serverAuth'] });
    const again = pki.issue('two-faced', { by: root, keyOf: ca });
    const end = pki.issue('end', { by: ca, extensions: DEVICE });
    expect(validating(end, [ca], [root])).toThrow(coded('certificate.purpose-refused'));
    expect(validating(end, [ca, again], [root])).not.toThrow();
    expect(validating(end, [again, ca], [root])).not.toThrow();
  });
});

describe('a chain is untrusted', () => {
  const untrusted = coded('certificate.untrusted');

  test('without its intermediate, or without its anchor', () => {
    expect(validating(leaf, [], [root])).toThrow(untrusted);
    expect(validating(leaf, [intermediate], [])).toThrow(untrusted);
    expect(validating(leaf, [intermediate, root], [leaf])).toThrow(untrusted);
  });

  test('when the anchor or the intermediate only bears the name', () => {
    const namesake = pki.issue('root');
    expect(validating(leaf, [intermediate], [namesake])).toThrow(untrusted);
    expect(validating(leaf, [intermediate], [namesake, root])).not.toThrow();
    expect(validating(leaf, [pki.issue('intermediate', { by: root })], [root])).toThrow(untrusted);
  });

  test('when a signature in it is altered', () => {
    const altered = {
      ...intermediate,
      certificate: flipped(intermediate.certificate, intermediate.certificate.length - 1),
    };
    expect(validating(leaf, [altered], [root])).toThrow(untrusted);
    const alteredLeaf = { ...leaf, certificate: flipped(leaf.certificate, leaf.certificate.length - 1) };
    expect(validating(alteredLeaf, [intermediate], [root])).toThrow(untrusted);
  });

  test('when an end entity has issued in it', () => {
    const end = pki.issue('end', { by: leaf, extensions: SIGNER });
    expect(validating(end, [leaf, intermediate], [root])).toThrow(untrusted);
    expect(validating(end, [leaf], [intermediate])).toThrow(untrusted);
  });

  test.each<[string, readonly string[]]>([
    ['is no CA', ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,keyCertSign']],
    ['says nothing of being one', ['keyUsage=critical,keyCertSign', 'subjectKeyIdentifier=hash']],
    ['lacks keyCertSign', ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,digitalSignature']],
    ['has no key usage', ['basicConstraints=critical,CA:TRUE']],
    ['has an unknown critical extension', [...CA, '1.2.3.4=critical,ASN1:UTF8String:x']],
    ['has name constraints', [...CA, 'nameConstraints=critical,permitted;URI:example.org']],
  ])('when an issuer %s', (_, extensions) => {
    const proper = pki.issue('proper', { by: root });
    expect(validating(pki.issue('end', { by: proper, extensions: DEVICE }), [proper], [root])).not.toThrow();
    const ca = pki.issue('improper', { by: root, extensions });
    const end = pki.issue('end', { by: ca, extensions: DEVICE });
    expect(validating(end, [ca], [root])).toThrow(untrusted);
    expect(validating(end, [], [ca])).toThrow(untrusted);
  });

  test('when a critical extension of the leaf is unknown, not when it is not critical', () => {
    const issue = (line: string): Issued => pki.issue('end', { by: intermediate, extensions: [...DEVICE, line] });
    expect(validating(issue('1.2.3.4=ASN1:UTF8String:x'), [intermediate], [root])).not.toThrow();
    expect(validating(issue('1.2.3.4=critical,ASN1:UTF8String:x'), [intermediate], [root])).toThrow(untrusted);
  });

  test('beyond the path length of a CA', () => {
    const ca = (name: string, by: Issued, pathLength: number): Issued =>
      pki.issue(name, {
        by,
        extensions: [`basicConstraints=critical,CA:TRUE,pathlen:${pathLength}`, 'keyUsage=keyCertSign'],
      });
    const under = (by: Issued): Issued => pki.issue('end', { by, extensions: DEVICE });
    const narrow = ca('narrow', root, 0);
    const belowNarrow = ca('below-narrow', narrow, 0);
    expect(validating(under(narrow), [narrow], [root])).not.toThrow();
    expect(validating(under(belowNarrow), [narrow, belowNarrow], [root])).toThrow(untrusted);
    const roomy = ca('roomy', root, 1);
    const belowRoomy = ca('below-roomy', roomy, 0);
    expect(validating(under(belowRoomy), [roomy, belowRoomy], [root])).not.toThrow();
    // RFC 5280, 6.1.4 (l): a self-issued certificate, as at a change of keys, does not count.
    const renewed = ca('narrow', narrow, 0);
    expect(validating(under(renewed), [narrow, renewed], [root])).not.toThrow();
  });

  test('when it is signed with SHA-1, or by a key that is too weak', () => {
    const signed = (digest: string): Uint8Array => {
      pki.file('weak.ext', DEVICE.join('\n'));
      pki.openssl('req', '-new', '-key', leaf.keyFile, '-subj', '/CN=weak', '-out', 'weak.csr');
      const by = ['-CA', intermediate.certificateFile, '-CAkey', intermediate.keyFile, '-set_serial', '7'];
      pki.openssl('x509', '-req', '-in', 'weak.csr', ...by, `-${digest}`, '-extfile', 'weak.ext', '-out', 'weak.crt');
      return new X509Certificate(pki.read('weak.crt')).raw;
    };
    const trust = { anchors: [root.certificate], at: NOW };
    expect(() => validateChain(signed('sha256'), [intermediate.certificate], trust)).not.toThrow();
    expect(() => validateChain(signed('sha1'), [intermediate.certificate], trust)).toThrow(untrusted);

    pki.openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024', '-out', 'rsa1024.key');
    const weakKey = pki.issue('weak-ca', { by: root, keyOf: { ...root, keyFile: 'rsa1024.key' } });
    expect(validating(pki.issue('end', { by: weakKey, extensions: DEVICE }), [weakKey], [root])).toThrow(untrusted);
  });

  test('when it is longer than any sensible one', () => {
    let last = root;
    const through: Issued[] = [];
    for (let length = 0; length < 7; length += 1) {
      last = pki.issue(`ca-${length}`, { by: last });
      through.push(last);
      const end = pki.issue('end', { by: last, extensions: DEVICE });
      if (length < 6) expect(validating(end, through, [root])().path).toHaveLength(length + 3);
      else expect(validating(end, through, [root])).toThrow(untrusted);
    }
  });
});

describe('a certificate may not be used', () => {
  const refused = coded('certificate.purpose-refused');
  const issue = (extensions: readonly string[], options: IssueOptions = {}): Issued =>
    pki.issue('end', { by: intermediate, extensions, ...options });

  test('as a leaf when it is a CA', () => {
    const signing = ['keyUsage=digitalSignature,keyCertSign'];
    expect(validating(issue([...signing, 'basicConstraints=CA:FALSE']), [intermediate], [root])).not.toThrow();
    expect(validating(issue([...signing, 'basicConstraints=CA:TRUE']), [intermediate], [root])).toThrow(refused);
  });

  test('without digitalSignature', () => {
    expect(validating(issue(['keyUsage=digitalSignature']), [intermediate], [root])).not.toThrow();
    expect(validating(issue(['keyUsage=keyAgreement']), [intermediate], [root])).toThrow(refused);
    expect(validating(issue(['basicConstraints=CA:FALSE']), [intermediate], [root])).toThrow(refused);
  });

  test('without the extended key usage asked for; any usage does not stand for it', () => {
    const asking = { extendedKeyUsage: CLIENT_AUTH };
    const withUsage = (usage: string): Issued => issue([...SIGNER, `extendedKeyUsage=${usage}`]);
    expect(validating(withUsage('serverAuth,clientAuth'), [intermediate], [root], asking)).not.toThrow();
    for (const usage of ['serverAuth', 'anyExtendedKeyUsage']) {
      expect(validating(withUsage(usage), [intermediate], [root], asking)).toThrow(refused);
    }
    expect(validating(issue(SIGNER), [intermediate], [root], asking)).toThrow(refused);
  });

  test('for what its issuer may not pass on', () => {
    const restricted = (usage: string, by?: Issued): Issued =>
      pki.issue(`ca-${usage}`, {
        ...(by === undefined ? {} : { by }),
        extensions: [...CA, `extendedKeyUsage=${usage}`],
      });
    const under = (ca: Issued, extensions: readonly string[] = DEVICE): Issued =>
      pki.issue('end', { by: ca, extensions });
    for (const usage of ['clientAuth', 'serverAuth,clientAuth', 'anyExtendedKeyUsage']) {
      const ca = restricted(usage, root);
      expect(validating(under(ca), [ca], [root])).not.toThrow();
    }
    const ca = restricted('serverAuth', root);
    expect(validating(under(ca), [ca], [root])).toThrow(refused);
    expect(validating(under(ca), [], [ca])).toThrow(refused);
    expect(validating(under(ca, SIGNER), [ca], [root])).toThrow(refused);
    // A root's own extended key usage binds nobody.
    const selfSigned = restricted('serverAuth');
    expect(validating(under(selfSigned), [], [selfSigned])).not.toThrow();
  });
});

describe('time', () => {
  test('counts for every certificate of the path, the anchor too', () => {
    const shortRoot = pki.issue('short-root', { days: 10 });
    const shortCa = pki.issue('short-ca', { by: root, days: 10 });
    const fromRoot = pki.issue('end', { by: shortRoot, extensions: DEVICE, days: 50 });
    const fromCa = pki.issue('end', { by: shortCa, extensions: DEVICE, days: 50 });
    const ending: readonly [Issued, readonly Issued[], readonly Issued[], number][] = [
      [leaf, [intermediate], [root], 100],
      [fromCa, [shortCa], [root], 10],
      [fromRoot, [], [shortRoot], 10],
    ];
    for (const [end, through, to, days] of ending) {
      expect(validating(end, through, to, { at: daysFromNow(days - 1) })).not.toThrow();
      expect(validating(end, through, to, { at: daysFromNow(days + 1) })).toThrow(coded('certificate.expired'));
      expect(validating(end, through, to, { at: daysFromNow(-1) })).toThrow(coded('certificate.not-yet-valid'));
      expect(validating(end, through, to, { at: 'ignore-time' })).not.toThrow();
    }
  });

  test('does not make an untrusted certificate merely expired', () => {
    const at = daysFromNow(1000);
    expect(validating(leaf, [intermediate], [], { at })).toThrow(coded('certificate.untrusted'));
    const asking = { at, extendedKeyUsage: '1.3.6.1.5.5.7.3.9' };
    expect(validating(leaf, [intermediate], [root], asking)).toThrow(coded('certificate.purpose-refused'));
  });
});

test('what is no certificate is named so', () => {
  const garbage = Buffer.from('3003020101', 'hex');
  const trust = { anchors: [root.certificate], at: NOW };
  expect(() => validateChain(leaf.certificate, [intermediate.certificate], trust)).not.toThrow();
  expect(() => validateChain(garbage, [], trust)).toThrow(coded('certificate.malformed'));
  expect(() => validateChain(leaf.certificate, [garbage], trust)).toThrow(coded('certificate.malformed'));
  expect(() => validateChain(leaf.certificate, [], { ...trust, anchors: [garbage] })).toThrow(
    coded('certificate.malformed'),
  );
});

test('a tangle of certificates that all issue each other ends the search, not the server', () => {
  const first = pki.issue('tangle');
  const tangle = [first, ...Array.from({ length: 11 }, () => pki.issue('tangle', { keyOf: first }))];
  const end = pki.issue('end', { by: first, extensions: DEVICE });
  expect(validating(end, tangle, [first])).not.toThrow();
  expect(validating(end, tangle, [root])).toThrow(coded('certificate.untrusted'));
});
