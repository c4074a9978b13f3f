/** Enrolment by ticket and renewal by certificate. The key pair and its CSR are durable before they are sent. */
import { hash } from 'node:crypto';
import { createCsr } from '#pki/csr/create.ts';
import { exportPrivateKeyPem, generateSoftwareKey } from '#pki/keys/software-key.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { Ticket } from '#schema/ticket.ts';
import { serverTrust, type AgentContext } from '../context.ts';
import { enrol, fetchCaCerts, fetchCsrAttributes, type EstCredential, type EstServer } from '../est/client.ts';
import type { AgentState, IdentitySlot, RequestedIdentity } from '../state/state.ts';
import type { TlsRequest } from '../tls/connect.ts';
import { issuedSlot } from './issued.ts';
import { materialOf } from './material.ts';

/** Undefined once the certificate is held; else how long the gateway wants the device to wait. */
export type EnrolmentOutcome = { readonly retryAfterMs: number } | undefined;

const DEFAULT_KEY: KeyAlgorithm = 'EC-P256';

function server(context: AgentContext, trust: TlsRequest['trust']): EstServer {
  const { held, timing, estLabel, signal } = context;
  return { url: held.current.registration.est, label: estLabel, trust, timeoutMs: timing.timeoutMs, signal };
}

/**
 * Holds the root that the ticket names, from a connection that nothing vouches for yet (RFC 7030, 4.1.1). Returns what
 * came with it.
 */
async function bootstrapRoot(context: AgentContext): Promise<readonly Uint8Array[]> {
  const { held } = context;
  if (held.current.root !== undefined) return [];
  const certificates = await fetchCaCerts(server(context, 'unauthenticated'));
  const root = certificates.find((der) => hash('sha256', der, 'hex') === held.current.registration.root);
  if (root === undefined) {
    throw new CroupierError(
      'trust.root-mismatch',
      'the gateway offers no root certificate with the fingerprint of the ticket',
    );
  }
  await context.queue.run(() => held.commit({ ...held.current, root }));
  return certificates;
}

/** The key type configured, else the first that the server asks for (RFC 9908). */
async function keyType(context: AgentContext): Promise<KeyAlgorithm> {
  if (context.keyAlgorithm !== undefined) return context.keyAlgorithm;
  const wanted = await fetchCsrAttributes(server(context, serverTrust(context)));
  return wanted?.keys[0] ?? DEFAULT_KEY;
}

/** The request under way for this purpose, or a new one, durable. */
async function request(context: AgentContext, purpose: RequestedIdentity['purpose']): Promise<RequestedIdentity> {
  const { held } = context;
  const under = held.current.identities.requested;
  if (under?.purpose === purpose) return under;
  const { privateKey, signer } = await generateSoftwareKey(await keyType(context));
  const csr = await createCsr({ subject: { commonName: held.current.registration.device }, signer });
  const requested = { purpose, privateKey: exportPrivateKeyPem(privateKey), csr };
  await context.queue.run(() => {
    const state = held.current;
    return held.commit({ ...state, identities: { ...state.identities, requested } });
  });
  return requested;
}

/** A first certificate is the current one; a later one waits for its first use. */
function withIssued(state: AgentState, slot: IdentitySlot): AgentState {
  const { current } = state.identities;
  const slots = current === undefined ? { current: slot, next: undefined } : { current, next: slot };
  return { ...state, identities: { ...slots, requested: undefined, renewAt: undefined } };
}

/** The slot of an issued certificate; the server is asked for intermediates only if those known do not suffice. */
async function slotOf(
  context: AgentContext,
  certificate: Uint8Array,
  privateKey: string,
  known: readonly Uint8Array[],
): Promise<IdentitySlot> {
  const { root, registration } = context.held.current;
  const anchors = context.held.bundle?.anchors.identity ?? (root === undefined ? [] : [root]);
  try {
    return issuedSlot(certificate, privateKey, registration, known, anchors);
  } catch (error) {
    if (errorCode(error) !== 'certificate.untrusted') throw error;
    const offered = await fetchCaCerts(server(context, serverTrust(context)));
    return issuedSlot(certificate, privateKey, registration, offered, anchors);
  }
}

async function obtain(
  context: AgentContext,
  requested: RequestedIdentity,
  credential: EstCredential,
  known: readonly Uint8Array[],
): Promise<IdentitySlot | { readonly retryAfterMs: number }> {
  const { held, queue } = context;
  const answer = await enrol(server(context, serverTrust(context)), requested.csr, credential);
  if (answer.kind === 'parked') return answer;
  const slot = await slotOf(context, answer.certificate, requested.privateKey, known);
  await queue.run(() => held.commit(withIssued(held.current, slot)));
  return slot;
}

/**
 * Enrols with a ticket's code. Errors: `trust.root-mismatch`, `enrolment.*`, `network.*`, `certificate.*`,
 * `store.unavailable`; all but the first may be tried again, with the same request.
 */
export async function enrolWithTicket(context: AgentContext, ticket: Ticket): Promise<EnrolmentOutcome> {
  const known = await bootstrapRoot(context);
  const requested = await request(context, 'enrol');
  const credential = { kind: 'ticket', device: ticket.device, code: ticket.code } as const;
  const obtained = await obtain(context, requested, credential, known);
  if ('retryAfterMs' in obtained) return obtained;
  context.emit({ kind: 'enrolled', serial: materialOf(obtained).serial });
  return undefined;
}

/**
 * Renews with the current certificate, also after it has expired (the gateway's grace decides). Errors: as
 * `enrolWithTicket`.
 */
export async function renewIdentity(context: AgentContext): Promise<EnrolmentOutcome> {
  const { current } = context.held.current.identities;
  if (current === undefined) throw new CroupierError('agent.not-enrolled', 'there is no certificate to renew');
  const requested = await request(context, 'renew');
  const obtained = await obtain(context, requested, { kind: 'certificate', identity: current }, current.chain);
  if ('retryAfterMs' in obtained) return obtained;
  context.emit({ kind: 'renewed', serial: materialOf(obtained).serial });
  return undefined;
}
