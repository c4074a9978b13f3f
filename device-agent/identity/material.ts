/** What is computed from an identity slot once: its key, its fields, its signer. */
import type { KeyObject } from 'node:crypto';
import { parseCertificate } from '#pki/certificate/parse.ts';
import type { EnvelopeRecipient } from '#pki/cms/envelope.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import { importPrivateKeyPem, softwareSigner } from '#pki/keys/software-key.ts';
import { Serial, Sha256 } from '#schema/ids.ts';
import type { Identities, IdentitySlot } from '../state/state.ts';

export interface IdentityMaterial {
  readonly privateKey: KeyObject;
  readonly signer: MessageSigner;
  readonly serial: Serial;
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyFingerprint: Sha256;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const made = new WeakMap<IdentitySlot, IdentityMaterial>();

/** Errors: `certificate.malformed`, `input.invalid` for a slot that this agent did not write. */
export function materialOf(slot: IdentitySlot): IdentityMaterial {
  const known = made.get(slot);
  if (known !== undefined) return known;
  const { serialNumber, spkiSha256, notBefore, notAfter } = parseCertificate(slot.certificate);
  const privateKey = importPrivateKeyPem(slot.privateKey);
  const material: IdentityMaterial = {
    privateKey,
    signer: { signer: softwareSigner(privateKey), certificate: slot.certificate, chain: slot.chain },
    serial: Serial.parse(serialNumber),
    keyFingerprint: Sha256.parse(spkiSha256),
    notBefore,
    notAfter,
  };
  made.set(slot, material);
  return material;
}

/** The keys that an envelope may be sealed for, the one in use first. */
export function recipientsOf({ current, next }: Identities): EnvelopeRecipient[] {
  return [current, next].flatMap((slot) =>
    slot === undefined ? [] : [{ privateKey: materialOf(slot).privateKey, certificate: slot.certificate }],
  );
}
