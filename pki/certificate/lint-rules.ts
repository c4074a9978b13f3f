/** The rules that a to-be-signed certificate must meet, each told as the sentence that it breaks. */
import { Buffer } from 'node:buffer';
import type { X509Certificate } from 'node:crypto';
import { OID } from '#pki/der/oid.ts';
import { parseDeviceUri } from './device-uri.ts';
import { encodeIpAddress } from './extensions.ts';
import type { ParsedName } from './name.ts';
import type { TbsFields } from './parse.ts';
import { keyUsageOf } from './profile.ts';
import { algorithmOfPublicKey, equalBytes, keyIdentifier, parsePublicKey } from './public-key.ts';
import { serialNumberHex } from './serial-number.ts';
import { signatureAlgorithm } from './signature-algorithm.ts';
import type { TbsRequest } from './tbs.ts';

const DAY = 86_400_000;
/** Certificates hold whole seconds; so are requests compared. */
const seconds = (date: Date): number => Math.floor(date.getTime() / 1000);

type Problems = string[];

function sameMembers(found: Iterable<string>, wanted: Iterable<string>): boolean {
  return [...found].toSorted().join(' ') === [...wanted].toSorted().join(' ');
}

function checkIssuer(tbs: TbsFields, request: TbsRequest, problems: Problems): void {
  const { issuer, profile } = request;
  if (issuer === 'self') {
    if (profile.kind !== 'root') problems.push('only a root is its own issuer');
    if (!equalBytes(tbs.issuer, tbs.subject)) problems.push('issuer and subject of the root differ');
    return;
  }
  if (profile.kind === 'root') problems.push('a root has no other issuer');
  if (issuer.kind !== profile.issuedBy)
    problems.push(`a ${profile.kind} is issued by the ${profile.issuedBy}, not by the ${issuer.kind}`);
  if (!equalBytes(tbs.issuer, issuer.name)) problems.push('the issuer field is not the subject of the issuer');
  if (equalBytes(tbs.subject, issuer.name)) problems.push('the subject has the name of the issuer');
  if (seconds(tbs.notBefore) < seconds(issuer.notBefore)) problems.push('it is valid before its issuer is');
  if (seconds(tbs.notAfter) > seconds(issuer.notAfter)) problems.push('it is valid after its issuer is');
}

function checkFields(tbs: TbsFields, request: TbsRequest, problems: Problems): void {
  const { issuer, profile } = request;
  if (!/^[4-7][0-9a-f]{31}$/.test(tbs.serialNumber) || tbs.serialNumber !== serialNumberHex(request.serialNumber)) {
    problems.push('the serial number is not the one recorded, positive and of 16 octets');
  }
  const key = algorithmOfPublicKey(parsePublicKey(tbs.spki));
  if (key === undefined) problems.push('the key is of no algorithm that Croupier certifies');
  const signing = issuer === 'self' ? key : issuer.algorithm;
  if (signing === undefined || !equalBytes(tbs.signatureAlgorithm, signatureAlgorithm(signing))) {
    problems.push('the signature algorithm is not that of the issuer');
  }
  if (!equalBytes(tbs.spki, request.spki)) problems.push('the public key is not the one requested');
  if (issuer !== 'self' && equalBytes(tbs.spki, issuer.spki)) problems.push('it certifies the key of its issuer');
  if (seconds(tbs.notBefore) !== seconds(request.notBefore) || seconds(tbs.notAfter) !== seconds(request.notAfter)) {
    problems.push('the validity is not the one requested');
  }
  const span = tbs.notAfter.getTime() - tbs.notBefore.getTime();
  if (span <= 0) problems.push('it ends before it begins');
  if (span > profile.maximumValidityDays * DAY)
    problems.push(`it is valid for more than ${profile.maximumValidityDays} days`);
}

function checkSubject(name: ParsedName, request: TbsRequest, problems: Problems): void {
  const { subject } = request;
  if (
    name.commonName !== subject.commonName ||
    name.organizationalUnit !== subject.organizationalUnit ||
    name.organization !== subject.organization
  ) {
    problems.push('the subject is not the one requested');
  }
}

function checkExtensionSet(tbs: TbsFields, request: TbsRequest, problems: Problems): void {
  const { profile } = request;
  const expected = new Map<string, boolean>([
    [OID.keyUsage, true],
    [OID.subjectKeyIdentifier, false],
    [OID.authorityKeyIdentifier, false],
  ]);
  if (profile.pathLength !== undefined) expected.set(OID.basicConstraints, true);
  if (profile.extendedKeyUsage !== undefined) expected.set(OID.extendedKeyUsage, false);
  if (profile.subjectAltName !== 'none') expected.set(OID.subjectAltName, false);
  if (request.crlUrl !== undefined) expected.set(OID.crlDistributionPoints, false);
  if (request.ocspUrl !== undefined) expected.set(OID.authorityInfoAccess, false);
  if (profile.ocspNoCheck) expected.set(OID.ocspNoCheck, false);
  for (const [id, critical] of expected) {
    const found = tbs.extensions.get(id);
    if (found === undefined) problems.push(`the extension ${id} is missing`);
    else if (found.critical !== critical)
      problems.push(`the extension ${id} is ${critical ? 'not critical' : 'critical'}`);
  }
  for (const id of tbs.extensions.keys())
    if (!expected.has(id)) problems.push(`the extension ${id} does not belong there`);
}

function checkExtensionValues(tbs: TbsFields, request: TbsRequest, problems: Problems): void {
  const { profile, issuer, spki } = request;
  const ca = profile.pathLength !== undefined;
  if ((tbs.basicConstraints?.ca ?? false) !== ca || tbs.basicConstraints?.pathLength !== profile.pathLength) {
    problems.push('the basic constraints are not those of the profile');
  }
  const algorithm = algorithmOfPublicKey(parsePublicKey(spki));
  const usages = algorithm === undefined ? [] : keyUsageOf(profile, algorithm);
  if (!sameMembers(tbs.keyUsage ?? [], usages)) problems.push('the key usage is not that of the profile');
  if (!sameMembers(tbs.extendedKeyUsage ?? [], profile.extendedKeyUsage ?? [])) {
    problems.push('the extended key usage is not that of the profile');
  }
  const own = keyIdentifier(spki);
  const authority = issuer === 'self' ? own : issuer.keyIdentifier;
  if (!equalBytes(tbs.subjectKeyIdentifier ?? Buffer.alloc(0), own))
    problems.push('the subject key identifier is not that of the key');
  if (!equalBytes(tbs.authorityKeyIdentifier ?? Buffer.alloc(0), authority)) {
    problems.push('the authority key identifier is not that of the issuer');
  }
}

function checkDeviceName(tbs: TbsFields, request: TbsRequest, problems: Problems): void {
  const { uris, count } = tbs.subjectAltNames;
  const identity = parseDeviceUri(uris[0] ?? '');
  if (count !== 1 || identity === undefined) {
    problems.push('the only alternative name must be spiffe://<realm>/<site>/<class>/<id>');
    return;
  }
  if (identity.id !== request.subject.commonName) problems.push('the URI names another device than the subject');
  if (identity.class !== request.subject.organizationalUnit)
    problems.push('the URI names another class than the subject');
  const realm = request.issuer === 'self' ? undefined : request.issuer.distinguishedName.organizationalUnit;
  if (identity.realm !== realm)
    problems.push(`the URI names the realm ${identity.realm}, the issuer belongs to ${realm ?? 'none'}`);
}

const HOST =
  /^(?=.{1,253}$)(?!\d+(?:\.\d+)*$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

function checkAlternativeNames(tbs: TbsFields, view: X509Certificate, request: TbsRequest, problems: Problems): void {
  const wanted = request.subjectAltNames ?? [];
  const found = tbs.subjectAltNames;
  if (found.count !== wanted.length) problems.push('the alternative names are not those requested');
  for (const { type, value } of wanted) {
    const present =
      type === 'uri'
        ? found.uris.includes(value) && view.subjectAltName?.includes(value) === true
        : type === 'dns'
          ? found.dnsNames.includes(value) && view.checkHost(value, { subject: 'never' }) !== undefined
          : view.checkIP(value) !== undefined && encodeIpAddress(value).length > 0;
    if (!present) problems.push(`the alternative name ${value} is missing`);
  }
  switch (request.profile.subjectAltName) {
    case 'device-uri':
      checkDeviceName(tbs, request, problems);
      break;
    case 'hosts':
      if (found.count === 0 || found.count !== found.dnsNames.length + found.ipAddresses.length) {
        problems.push('the alternative names must be DNS names and IP addresses');
      }
      for (const name of found.dnsNames) if (!HOST.test(name)) problems.push(`${name} is no host name`);
      break;
    case 'none':
      if (found.count > 0) problems.push('alternative names do not belong there');
      break;
    default:
      request.profile.subjectAltName satisfies never;
  }
}

const KEY_TYPES = { EC: 'ec', RSA: 'rsa', Ed25519: 'ed25519', other: undefined } as const;

/** OpenSSL must read the same out of the certificate as our own parser. */
function checkSecondView(tbs: TbsFields, view: X509Certificate, problems: Problems): void {
  const agrees =
    view.serialNumber.toLowerCase() === tbs.serialNumber &&
    view.ca === (tbs.basicConstraints?.ca ?? false) &&
    sameMembers(view.keyUsage ?? [], tbs.extendedKeyUsage ?? []) &&
    seconds(view.validFromDate) === seconds(tbs.notBefore) &&
    seconds(view.validToDate) === seconds(tbs.notAfter) &&
    // Loading the key also proves that an EC point is on its curve.
    KEY_TYPES[parsePublicKey(tbs.spki).type] === view.publicKey.asymmetricKeyType;
  if (!agrees) problems.push('two parsers read different certificates');
}

/** Every rule that the certificate breaks; empty if it may be signed. `view` is the same TBS as OpenSSL parsed it. */
export function lintProblems(tbs: TbsFields, view: X509Certificate, request: TbsRequest): readonly string[] {
  const problems: Problems = [];
  checkIssuer(tbs, request, problems);
  checkFields(tbs, request, problems);
  checkSubject(tbs.subjectName, request, problems);
  checkExtensionSet(tbs, request, problems);
  checkExtensionValues(tbs, request, problems);
  checkAlternativeNames(tbs, view, request, problems);
  checkSecondView(tbs, view, problems);
  return problems;
}
