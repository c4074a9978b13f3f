/** Module, token, PIN and keys: every key signs, and what it signs verifies with its certificate. */
import { timingSafeEqual, verify, X509Certificate } from 'node:crypto';
import type { KeyStore } from '#pki/keystore/port.ts';
import { CroupierError } from '#schema/errors.ts';
import type { Config } from '#schema/config.ts';
import type { DataDirectory } from '#gateway/installation/data-directory.ts';
import { openConfiguredKeyStore } from '#gateway/installation/key-store.ts';
import { KEK_LABEL } from '#gateway/keys/working-key.ts';
import type { AuthorityRecord } from '#gateway/ports/store/records.ts';
import { isCertified, type CertifiedAuthority } from '#gateway/trust/lineage.ts';
import { fail, failure, ok, type Finding } from './check.ts';

/** Authorities in other states sign nothing any more, and their keys may be gone. */
const SIGNING: readonly AuthorityRecord['state'][] = ['current', 'next'];

/** Not DER, so that no signature over it can pass for one over a certificate or a message. */
const PROBE = Buffer.from('croupier doctor: this signature proves that the key works\n');

async function checkSigningKey(
  keyStore: KeyStore,
  { role, keyLabel, certificate }: CertifiedAuthority,
): Promise<Finding> {
  const check = `key ${keyLabel}`;
  try {
    const signer = await keyStore.signer(keyLabel);
    const signature = await signer.sign(PROBE);
    const hash = signer.algorithm === 'Ed25519' ? null : signer.algorithm === 'EC-P384' ? 'sha384' : 'sha256';
    const { publicKey } = new X509Certificate(certificate);
    if (!verify(hash, PROBE, publicKey, signature)) {
      return fail(
        check,
        'hsm.key-unsafe',
        `the key in the HSM is not that of the ${role} certificate`,
        'Restore the token that belongs to this database.',
      );
    }
    return ok(check, `${role} signs, and its certificate verifies`);
  } catch (error) {
    return failure(check, error);
  }
}

async function checkWrappingKey(keyStore: KeyStore): Promise<Finding> {
  const check = `key ${KEK_LABEL}`;
  try {
    const wrapped = await keyStore.wrap(KEK_LABEL, PROBE, PROBE);
    const clear = await keyStore.unwrap(KEK_LABEL, wrapped, PROBE);
    const same = clear.length === PROBE.length && timingSafeEqual(clear, PROBE);
    return same
      ? ok(check, 'wraps and unwraps')
      : fail(check, 'hsm.unwrap-failed', 'the key does not unwrap what it wrapped');
  } catch (error) {
    return failure(check, error);
  }
}

/** Authorities whose keys the HSM must hold: all but the root, which has a token of its own. */
export async function checkHsm(
  data: DataDirectory,
  config: Config,
  authorities: readonly AuthorityRecord[] | undefined,
): Promise<readonly Finding[]> {
  const { token, module } = config.hsm;
  let keyStore: KeyStore;
  try {
    keyStore = await openConfiguredKeyStore(data, config);
  } catch (error) {
    return [failure('HSM', error)];
  }
  try {
    const findings = [ok('HSM', `token ${token} of ${module} takes the PIN`)];
    for (const authority of (authorities ?? []).filter(isCertified)) {
      if (SIGNING.includes(authority.state) && authority.role !== 'root')
        findings.push(await checkSigningKey(keyStore, authority));
    }
    findings.push(await checkWrappingKey(keyStore));
    return findings;
  } catch (error) {
    if (error instanceof CroupierError) return [failure('HSM', error)];
    throw error;
  } finally {
    await keyStore.close();
  }
}
