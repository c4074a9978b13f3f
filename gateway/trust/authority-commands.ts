/** `authority prepare`, `install`, `switch`, `withdraw`: each a pure decision, then what follows from it. */
import { checkIntermediate, checkRoot } from '#pki/ceremony/check.ts';
import { intermediateLabel, intermediateSubject, type IntermediateName } from '#pki/ceremony/intermediate.ts';
import { HSM_LABELS, ROOT_LABEL } from '#pki/ceremony/labels.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { decodePemAll, encodePem } from '#pki/certificate/pem.ts';
import { createCsr } from '#pki/csr/create.ts';
import type { KeyAlgorithm, Signer } from '#pki/keys/signer.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { CommandAction, CommandRequest } from '#schema/api/commands.ts';
import type { Json } from '#schema/runtime/canonical-json.ts';
import type { Authority, Command } from '#gateway/operators/command.ts';
import type { AuthorityRecord } from '#gateway/ports/store/records.ts';
import type { AuthorityFacts, AuthorityOutcome } from '#gateway/ports/store/trust.ts';
import type { HeldAuthorities } from './authorities.ts';
import { certifySigner, type CertifierPorts } from './certify-signer.ts';
import {
  decideInstallation,
  decidePreparation,
  decideRecertification,
  decideRoot,
  decideSwitch,
  decideWithdrawal,
  generationOf,
  nextGeneration,
  type PreparedRole,
  type Step,
} from './decide-authority.ts';
import { auditRoot, authoritiesIn, rootAbove } from './lineage.ts';
import { isUpToDate, publishNextBundle, type NextBundlePorts } from './publish.ts';

export interface AuthorityCommandPorts extends CertifierPorts, Omit<NextBundlePorts, 'authorities'> {
  readonly authorities: HeldAuthorities;
}

const KEY_ALGORITHM: KeyAlgorithm = 'EC-P256';
const WHAT = {
  root: 'root',
  'device-ca': 'Device CA',
  'operations-ca': 'Operations CA',
  'message-signer': 'message signer',
  'message-signer-standby': 'standby message signer',
} as const;

const because = (reason: string | undefined): string => (reason === undefined ? '' : `: ${reason}`);

/** What an approver compares with the record of the ceremony. */
function fingerprintIn(certificates: string): string {
  const [certificate] = decodePemAll('CERTIFICATE', certificates);
  return certificate === undefined ? 'without a certificate' : `SHA-256 ${certificateFingerprint(certificate)}`;
}

function labelOf(role: PreparedRole, generation: number): string {
  return role === 'message-signer-standby'
    ? HSM_LABELS.messageSigner(generation)
    : intermediateLabel({ kind: role, generation });
}

/** The key of a label, made now if a crash came between its record and itself. */
async function ensureKey(keyStore: KeyStore, keyLabel: string): Promise<Signer> {
  try {
    return await keyStore.signer(keyLabel);
  } catch (error) {
    if (errorCode(error) !== 'hsm.key-not-found') throw error;
    return keyStore.generateSigningKey(keyLabel, KEY_ALGORITHM);
  }
}

export type AuthorityCommands = {
  readonly [Action in Extract<CommandAction, `authority.${string}`>]: Command<Action>;
};

type Change = Extract<AuthorityOutcome, { readonly kind: 'change' }>;
type Refusal = Extract<AuthorityOutcome, { readonly kind: 'refuse' }>;

export function authorityCommands(ports: AuthorityCommandPorts): AuthorityCommands {
  const { store, keyStore, clock, realm, operator, authorities } = ports;
  const bundlePorts: NextBundlePorts = { ...ports, authorities: authorities.get };

  const stepOf = ({ actor, approval }: Authority): Step => ({ at: clock.now(), actor, approval });

  const nameOf = (kind: IntermediateName['kind'], keyLabel: string): IntermediateName => ({
    kind,
    generation: generationOf(keyLabel),
    realm,
    operator,
  });

  const decide = async <Decided extends Change>(
    step: Step,
    decision: (facts: AuthorityFacts) => Decided | Refusal,
  ): Promise<Decided> => {
    const outcome = await store.decideAuthorities<Decided | Refusal>(step.at, decision);
    if (outcome.kind === 'refuse') throw outcome.error;
    return outcome;
  };

  /** What a decision would say now, before anybody is asked to approve it. */
  const foresee = async (decision: (facts: AuthorityFacts) => AuthorityOutcome): Promise<void> => {
    const outcome = decision(await factsNow());
    if (outcome.kind === 'refuse') throw outcome.error;
  };

  const factsNow = async (): Promise<AuthorityFacts> => {
    const released = await store.releasedTrustVersion();
    const records = await store.authorities();
    const behind = await store.devicesBehind(released);
    const under = new Map<string, number>();
    for (const { keyLabel, role } of records)
      if (role === 'device-ca') under.set(keyLabel, await store.devicesUnder(keyLabel));
    return {
      records,
      releasedBundle: await store.trustBundle(released),
      devicesUnder: (keyLabel) => under.get(keyLabel) ?? 0,
      devicesBehind: () => behind,
    };
  };
  const someStep = (): Step => ({ at: clock.now(), actor: { type: 'gateway', id: 'desk' }, approval: undefined });

  /** The gateway uses what is decided, then tells the devices. Returns the bundle that says so, if a new one is needed. */
  const takeUp = async (
    step: Step,
    { always = false, atOnce = false }: { readonly always?: boolean; readonly atOnce?: boolean } = {},
  ): Promise<number | null> => {
    await authorities.reload();
    if (!always && isUpToDate(await store.latestTrustBundle(), authorities.get())) return null;
    return (await publishNextBundle(bundlePorts, step, {}, { atOnce })).version;
  };

  const prepare: Command<'authority.prepare'> = {
    summary: ({ role, reason }) => `prepare the next ${WHAT[role]}${because(reason)}`,
    check: ({ role }) => foresee((facts) => decidePreparation(facts, { role, keyLabel: role }, someStep())),
    execute: async ({ role }, authority) => {
      const step = stepOf(authority);
      const held = await keyStore.labels();
      const { prepared } = await decide(step, (facts) => {
        const taken = [...held, ...facts.records.map(({ keyLabel }) => keyLabel)];
        return decidePreparation(facts, { role, keyLabel: labelOf(role, nextGeneration(role, taken)) }, step);
      });
      const { keyLabel } = prepared;
      const signer = await ensureKey(keyStore, keyLabel);
      if (role !== 'message-signer-standby') {
        const csr = await createCsr({ subject: intermediateSubject(nameOf(role, keyLabel)), signer });
        return { keyLabel, state: 'prepared', request: encodePem('CERTIFICATE REQUEST', csr) };
      }
      const certificate = await certifySigner(ports, prepared, step);
      await decide(step, (facts) => decideInstallation(facts, { keyLabel, certificate }, stepOf(authority)));
      return { keyLabel, state: 'next' };
    },
  };

  /** The label and certificate (DER) to install. Errors: `authority.*`, `certificate.malformed`, `hsm.*`. */
  const inspect = async ({
    role,
    certificates,
  }: CommandRequest<'authority.install'>): Promise<{ readonly keyLabel: string; readonly certificate: Uint8Array }> => {
    const [certificate] = decodePemAll('CERTIFICATE', certificates);
    if (certificate === undefined)
      throw new CroupierError('certificate.malformed', 'there is no PEM certificate in what was given');
    const now = clock.now();
    const records = await store.authorities();
    if (role === 'root') {
      checkRoot(certificate, { realm, now });
      const labels = records.filter((record) => record.role === role).map(({ keyLabel }) => keyLabel);
      return { keyLabel: `${ROOT_LABEL}-${nextGeneration(role, labels)}`, certificate };
    }
    const prepared = records.find((record) => record.role === role && record.state === 'prepared');
    if (prepared === undefined)
      throw new CroupierError('authority.not-found', `no ${WHAT[role]} waits for a certificate: prepare one first`);
    const { keyLabel } = prepared;
    const { spki } = await keyStore.signer(keyLabel);
    const roots = authoritiesIn(records, 'root').map((record) => record.certificate);
    checkIntermediate(certificate, { ...nameOf(role, keyLabel), spki, roots, now });
    return { keyLabel, certificate };
  };

  const install: Command<'authority.install'> = {
    summary: ({ role, certificates, reason }) =>
      `trust another ${WHAT[role]}, ${fingerprintIn(certificates)}, from the next trust bundle on${because(reason)}`,
    check: async (request) => {
      await inspect(request);
    },
    execute: async (request, authority) => {
      const step = stepOf(authority);
      const made = await inspect(request);
      await decide(step, (facts) =>
        request.role === 'root' ? decideRoot(facts, made, step) : decideInstallation(facts, made, step),
      );
      return { keyLabel: made.keyLabel, state: 'next', trustVersion: await takeUp(step) };
    },
  };

  /**
   * Signers keep their keys, which devices know, and get certificates of the Operations CA that is current now: a device
   * that begins anew may know no other root. The audit signer changes its root never, since one root verifies a trail.
   */
  const recertifySigners = async (step: Step): Promise<void> => {
    const records = await store.authorities();
    const [current] = authoritiesIn(records, 'operations-ca', ['current']);
    const root = current === undefined ? undefined : rootAbove(records, current.certificate);
    const signers = [
      ...authoritiesIn(records, 'message-signer', ['current']),
      ...authoritiesIn(records, 'message-signer-standby', ['current', 'next']),
      ...(auditRoot(records) === root ? authoritiesIn(records, 'audit-signer', ['current']) : []),
    ];
    for (const { role, keyLabel } of signers) {
      const certificate = await certifySigner(ports, { role, keyLabel }, step);
      await decide(step, (facts) => decideRecertification(facts, { keyLabel, certificate }, step));
    }
  };

  const switchOver: Command<'authority.switch'> = {
    summary: ({ role, compromised, force, reason }) =>
      `switch to the next ${WHAT[role]}${compromised ? ', the old one is compromised' : ''}${force ? ', though devices do not know it yet' : ''}${because(reason)}`,
    check: (request) => foresee((facts) => decideSwitch(facts, request, someStep())),
    execute: async (request, authority) => {
      const step = stepOf(authority);
      const { put } = await decide(step, (facts) => decideSwitch(facts, request, step));
      const isOperations = request.role === 'operations-ca';
      if (isOperations) await recertifySigners(step);
      const trustVersion = await takeUp(step, { always: isOperations, atOnce: request.compromised });
      return { changed: put.map(statesOf), trustVersion };
    },
  };

  const withdraw: Command<'authority.withdraw'> = {
    summary: ({ keyLabel, force, reason }) =>
      `withdraw ${keyLabel}: nothing trusts it any more${force ? ', though devices still use it' : ''}${because(reason)}`,
    check: (request) => foresee((facts) => decideWithdrawal(facts, request, someStep())),
    execute: async (request, authority) => {
      const step = stepOf(authority);
      const { put } = await decide(step, (facts) => decideWithdrawal(facts, request, step));
      const trustVersion = await takeUp(step, { atOnce: request.force });
      return { changed: put.map(statesOf), trustVersion };
    },
  };

  return {
    'authority.prepare': prepare,
    'authority.install': install,
    'authority.switch': switchOver,
    'authority.withdraw': withdraw,
  };
}

const statesOf = ({ keyLabel, role, state }: AuthorityRecord): Json => ({ keyLabel, role, state });
