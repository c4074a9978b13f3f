/** The report: everything the device proves to hold, from its state alone. Pure but for the signature. */
import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { signMessage } from '#pki/cms/sign.ts';
import { Sha256, TrustVersion } from '#schema/ids.ts';
import type { Report, ReportedKeyring } from '#schema/messages/report.ts';
import type { TimeReading } from '../clock/trusted-time.ts';
import { materialOf, type IdentityMaterial } from '../identity/material.ts';
import type { AgentState, HeldKeyring, IdentitySlot } from '../state/state.ts';

export interface ReportContext {
  readonly bootId: string;
  readonly nonce: string;
  readonly time: TimeReading;
  readonly agent: Report['agent'];
}

const MAX_VERSIONS = 256;

function reportedKeyring({ keySet, revision, active, versions, destroyed }: HeldKeyring): ReportedKeyring {
  const held = versions.map(({ version, state, kcv }) => ({ version, state, kcv }));
  const receipts = destroyed.flatMap(({ version, kcv, listed }) =>
    listed ? [{ version, state: 'destroyed' as const, kcv }] : [],
  );
  return { keySet, revision, active, versions: [...held, ...receipts].slice(0, MAX_VERSIONS) };
}

export function buildReport(state: AgentState, identity: IdentityMaterial, context: ReportContext): Report {
  const { registration, report } = state;
  return {
    v: 1,
    type: 'report',
    realm: registration.realm,
    device: registration.device,
    bootId: context.bootId,
    counter: report.counter + 1,
    nonce: context.nonce,
    lastSeq: state.lastSeq,
    trustVersion: state.trust?.version ?? TrustVersion.parse(0),
    identity: {
      serial: identity.serial,
      notAfter: identity.notAfter.toISOString(),
      keyFingerprint: identity.keyFingerprint,
    },
    keyrings: state.keyrings.map(reportedKeyring),
    results: [...state.results],
    clock: { now: context.time.now.toISOString(), trusted: context.time.trusted },
    agent: context.agent,
    previous: report.last === undefined ? null : Sha256.parse(hash('sha256', report.last, 'hex')),
  };
}

/** The state with its next report in it, signed with the key of `slot`; to be committed before the report is sent. */
export async function withNextReport(
  state: AgentState,
  slot: IdentitySlot,
  context: ReportContext,
): Promise<AgentState & { readonly report: { readonly last: Uint8Array } }> {
  const material = materialOf(slot);
  const body = buildReport(state, material, context);
  const last = await signMessage(Buffer.from(JSON.stringify(body)), material.signer);
  return { ...state, report: { counter: body.counter, last } };
}
