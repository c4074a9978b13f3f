/** What expires: authorities, the gateway's own certificate, the trust bundle, the revocation list. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { decodePemAll } from '#pki/certificate/pem.ts';
import type { DataDirectory } from '#gateway/installation/data-directory.ts';
import type { AuthorityRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { fail, failure, ok, warn, type Finding } from './check.ts';

const DAY_MS = 86_400_000;
/** Authorities need a ceremony, which takes people and a safe. */
const CEREMONY_DAYS = 180;
const SOON_DAYS = 30;

function expiry(check: string, what: string, notAfter: Date, now: Date, within: number, remedy: string): Finding {
  const days = Math.floor((notAfter.getTime() - now.getTime()) / DAY_MS);
  if (notAfter <= now)
    return fail(check, 'certificate.expired', `${what} expired at ${notAfter.toISOString()}`, remedy);
  if (days < within) return warn(check, `${what} expires in ${days} days, at ${notAfter.toISOString()}`, remedy);
  return ok(check, `${what} is valid until ${notAfter.toISOString()}`);
}

export function checkAuthorities(authorities: readonly AuthorityRecord[], now: Date): readonly Finding[] {
  return authorities.flatMap(({ role, keyLabel, state, certificate }) => {
    if (certificate === undefined || state === 'withdrawn' || state === 'compromised') return [];
    const check = state === 'current' ? `certificate ${role}` : `certificate ${role} (${keyLabel}, ${state})`;
    try {
      const { notBefore, notAfter, subjectName } = parseCertificate(certificate);
      if (notBefore > now) {
        return fail(
          check,
          'certificate.not-yet-valid',
          `it is valid from ${notBefore.toISOString()} on`,
          'Check the clock of this machine.',
        );
      }
      return expiry(
        check,
        subjectName.commonName ?? role,
        notAfter,
        now,
        CEREMONY_DAYS,
        'Plan the ceremony that makes its successor.',
      );
    } catch (error) {
      return failure(check, error);
    }
  });
}

export async function checkTlsCertificate(data: DataDirectory, now: Date): Promise<readonly Finding[]> {
  const check = 'certificate TLS';
  const file = path.join(data.tls, 'gateway.pem');
  const text = await readFile(file, 'utf8').catch(() => undefined);
  const [der] = text === undefined ? [] : decodePemAll('CERTIFICATE', text);
  if (der === undefined)
    return [warn(check, `there is no certificate in ${file}`, 'Start the gateway: it makes a new one.')];
  return [
    expiry(check, file, parseCertificate(der).notAfter, now, SOON_DAYS, 'Restart the gateway: it makes a new one.'),
  ];
}

export async function checkTrust(store: Store, now: Date): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const bundle = await store.latestTrustBundle();
  findings.push(
    bundle === undefined
      ? fail('trust bundle', 'trust.not-found', 'there is no trust bundle', 'Run croupier trust publish.')
      : expiry(
          'trust bundle',
          `version ${bundle.version}`,
          new Date(bundle.body.expiresAt),
          now,
          SOON_DAYS,
          'Run croupier trust publish.',
        ),
  );
  const crl = await store.latestCrl();
  if (crl !== undefined) {
    findings.push(
      crl.nextUpdate > now
        ? ok('revocation list', `number ${crl.number}, next by ${crl.nextUpdate.toISOString()}`)
        : warn(
            'revocation list',
            `number ${crl.number} should have been followed by ${crl.nextUpdate.toISOString()}`,
            'Start the gateway: it signs a new one.',
          ),
    );
  }
  return findings;
}
