/**
 * `croupier init`: from an empty directory to a realm. Root ceremony on a token of its own, Device CA and Operations CA,
 * message signers, audit signer and KEK in the HSM, first policy, first trust bundle, first operators.
 *
 * Every certificate is recorded in the audit chain before it is signed (I1). The root's token is needed for ceremonies
 * alone: afterwards its directory belongs on a medium in a safe.
 */
import { createHash, randomBytes } from 'node:crypto';
import { access } from 'node:fs/promises';
import path from 'node:path';
import { intermediateCeremony, requestIntermediate, type IntermediateKind } from '#pki/ceremony/intermediate.ts';
import { HSM_LABELS, ROOT_LABEL } from '#pki/ceremony/labels.ts';
import { issueOperational, type OperationalKind } from '#pki/ceremony/operational.ts';
import type { CeremonyRecord, CeremonySetting } from '#pki/ceremony/record.ts';
import { rootCeremony } from '#pki/ceremony/root.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { findSoftHsmModule, prepareSoftHsm } from '#pki/keystore/softhsm.ts';
import { CroupierError } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { Config } from '#schema/config.ts';
import { OperatorName, Realm } from '#schema/ids.ts';
import type { Role } from '#schema/operators.ts';
import { parseWith } from '#schema/parse.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { KEK_LABEL } from '#gateway/keys/working-key.ts';
import { foundOperator, hashToken, makeToken } from '#gateway/operators/operator-command.ts';
import { parsePolicy, policyApplyCommand } from '#gateway/operators/policy-command.ts';
import type { AuthorityRole } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { loadAuthorities } from '#gateway/trust/authorities.ts';
import { publishNextBundle } from '#gateway/trust/publish.ts';
import { INTERMEDIATE_YEARS, ROOT_YEARS } from './ceremony.ts';
import { resolveConfig, writeConfig } from './config-file.ts';
import {
  dataDirectory,
  makeDataDirectory,
  writePrivateFile,
  writePublicFile,
  type DataDirectory,
} from './data-directory.ts';
import { DEFAULT_POLICY } from './default-policy.ts';
import { makeHsmToken, openRootToken, rootTokenLabel } from './hsm-token.ts';
import { openConfiguredKeyStore } from './key-store.ts';
import { ensureTlsIdentity } from './tls-identity.ts';

export interface InitOptions {
  readonly directory: string;
  readonly realm: string;
  /** Organisation in certificates. */
  readonly operator: string;
  /** How devices reach the gateway; the first goes into tickets. */
  readonly names: readonly string[];
  readonly listen?: {
    readonly host?: string;
    readonly est?: number;
    readonly mqtt?: number;
    readonly api?: number;
    readonly public?: number;
  };
  /** YAML; the default policy when left out. */
  readonly policy?: string;
  /** First operators of their roles. */
  readonly founders: readonly { readonly name: string; readonly role: Role }[];
  readonly clock: Clock;
  readonly random: Random;
  readonly onStep?: (step: string) => void;
}

export interface InitResult {
  readonly data: DataDirectory;
  readonly realm: Realm;
  /** SHA-256 of the root certificate, hex. */
  readonly rootFingerprint: string;
  readonly ceremonies: readonly CeremonyRecord[];
  readonly operators: readonly { readonly name: string; readonly role: Role; readonly tokenFile: string }[];
}

const SIGNER_DAYS = 365 * 3;
const CONSOLE: AuditActor = { type: 'console', id: 'init' };

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

interface Ceremony {
  readonly options: InitOptions;
  readonly data: DataDirectory;
  readonly config: Config;
  readonly store: Store;
  readonly module: string;
  readonly setting: CeremonySetting;
  readonly records: CeremonyRecord[];
}

async function keep(
  ceremony: Ceremony,
  role: AuthorityRole,
  keyLabel: string,
  made: { readonly certificate: Uint8Array; readonly record: CeremonyRecord },
): Promise<void> {
  const { store, options, records, data } = ceremony;
  records.push(made.record);
  const at = options.clock.now();
  const { certificate } = made;
  const event: AuditEvent = {
    action: 'ceremony.certificate',
    outcome: 'success',
    actor: CONSOLE,
    object: { type: 'certificate', id: made.record.serialNumber },
    details: {
      role,
      key: keyLabel,
      subject: made.record.commonName,
      fingerprint: made.record.certificateFingerprint,
      notAfter: made.record.notAfter,
    },
  };
  await store.decideAuthorities(at, () => ({
    kind: 'change',
    put: [{ role, keyLabel, state: 'current', certificate, createdAt: at, changedAt: at }],
    audit: [event],
  }));
  await writePublicFile(path.join(data.ca, `${role}.pem`), encodePem('CERTIFICATE', made.certificate));
}

const INTERMEDIATES: readonly { readonly kind: IntermediateKind; readonly label: string }[] = [
  { kind: 'device-ca', label: HSM_LABELS.deviceCa(1) },
  { kind: 'operations-ca', label: HSM_LABELS.operationsCa(1) },
];

/** The root's token is open only within this function. */
async function holdRootCeremony(
  ceremony: Ceremony,
  requests: ReadonlyMap<IntermediateKind, Uint8Array>,
): Promise<Uint8Array> {
  const { data, module, setting, options } = ceremony;
  options.onStep?.('root ceremony on its own token');
  await makeHsmToken(data.rootToken, rootTokenLabel(setting.realm), module);
  const rootToken = await openRootToken({ directory: data.rootToken, realm: setting.realm });
  try {
    const root = await rootCeremony({ ...setting, keyStore: rootToken, algorithm: 'EC-P384', years: ROOT_YEARS });
    await keep(ceremony, 'root', ROOT_LABEL, root);
    // With the token, so that a later ceremony needs nothing but the medium and the request.
    await writePublicFile(path.join(data.rootToken, 'root.pem'), encodePem('CERTIFICATE', root.certificate));
    const rootSigner = await rootToken.signer(ROOT_LABEL);
    for (const { kind, label: keyLabel } of INTERMEDIATES) {
      options.onStep?.(`${kind} signed by the root`);
      const csr = requests.get(kind);
      if (csr === undefined) throw new CroupierError('internal.unexpected', `no request for ${kind}`);
      const made = await intermediateCeremony({
        ...setting,
        kind,
        generation: 1,
        rootCertificate: root.certificate,
        rootSigner,
        csr,
        years: INTERMEDIATE_YEARS,
      });
      await keep(ceremony, kind, keyLabel, made);
    }
    return root.certificate;
  } finally {
    await rootToken.close();
  }
}

const SIGNERS: readonly {
  readonly role: AuthorityRole;
  readonly kind: OperationalKind;
  readonly label: string;
  readonly commonName: string;
}[] = [
  {
    role: 'message-signer',
    kind: 'message-signer',
    label: HSM_LABELS.messageSigner(1),
    commonName: 'Croupier Message Signer 1',
  },
  {
    role: 'message-signer-standby',
    kind: 'message-signer',
    label: HSM_LABELS.messageSigner(2),
    commonName: 'Croupier Message Signer 2',
  },
  {
    role: 'audit-signer',
    kind: 'audit-signer',
    label: HSM_LABELS.auditSigner(1),
    commonName: 'Croupier Audit Signer 1',
  },
];

async function certifySigners(ceremony: Ceremony, hsm: KeyStore): Promise<void> {
  const { store, setting, options } = ceremony;
  const operationsCa = await store.authority('operations-ca');
  if (operationsCa?.certificate === undefined)
    throw new CroupierError('internal.unexpected', 'the Operations CA was not stored');
  const operationsSigner = await hsm.signer(operationsCa.keyLabel);
  for (const { role, kind, label, commonName } of SIGNERS) {
    options.onStep?.(`${role} in the HSM`);
    const { spki } = await hsm.generateSigningKey(label, 'EC-P256');
    const made = await issueOperational({
      ...setting,
      operationsCertificate: operationsCa.certificate,
      operationsSigner,
      kind,
      commonName,
      spki,
      keyLabel: label,
      days: SIGNER_DAYS,
    });
    await keep(ceremony, role, label, made);
  }
  await ensureTlsIdentity(
    ceremony.data,
    ceremony.config,
    setting,
    operationsCa.certificate,
    async () => operationsSigner,
  );
  options.onStep?.('key encryption key in the HSM');
  await hsm.generateWrappingKey(KEK_LABEL);
}

async function found(ceremony: Ceremony): Promise<InitResult['operators']> {
  const { options, store, data } = ceremony;
  const founded: { name: string; role: Role; tokenFile: string }[] = [];
  for (const { name, role } of options.founders) {
    const token = makeToken(options.random);
    const tokenFile = path.join(data.operators, `${name}.token`);
    await foundOperator(
      store,
      options.clock,
      { name: parseWith(OperatorName, name, 'input.invalid', 'operator'), role, tokenHash: hashToken(token) },
      CONSOLE,
    );
    await writePrivateFile(tokenFile, `${token}\n`);
    founded.push({ name, role, tokenFile });
  }
  return founded;
}

/** The first policy and the first trust bundle, without which no device can be served. */
async function openForBusiness(ceremony: Ceremony, hsm: KeyStore): Promise<void> {
  const { options, store, config, data } = ceremony;
  const document = options.policy ?? DEFAULT_POLICY;
  const ports = { realm: config.realm, store, clock: options.clock, policy: () => parsePolicy(document) };
  options.onStep?.('first policy');
  await policyApplyCommand({ ...ports, keyStore: hsm, onApplied: () => {} }).execute(
    { document, replaces: null },
    { actor: CONSOLE, approval: undefined },
  );
  await writePublicFile(data.policy, document);
  options.onStep?.('first trust bundle');
  const authorities = await loadAuthorities(store, hsm);
  const bundlePorts = { ...ports, random: options.random, authorities: () => authorities, onPublished: () => {} };
  await publishNextBundle(bundlePorts, { actor: CONSOLE, approval: undefined });
}

async function hold(ceremony: Ceremony): Promise<InitResult> {
  const { data, config, setting, options, module } = ceremony;
  options.onStep?.('HSM token');
  await makeHsmToken(data.hsm, config.hsm.token, module);
  const requests = new Map<IntermediateKind, Uint8Array>();
  const keyGeneration = await openConfiguredKeyStore(data, config);
  try {
    for (const { kind } of INTERMEDIATES) {
      options.onStep?.(`${kind} key in the HSM`);
      requests.set(
        kind,
        await requestIntermediate({
          kind,
          generation: 1,
          realm: setting.realm,
          operator: setting.operator,
          hsm: keyGeneration,
          algorithm: 'EC-P256',
        }),
      );
    }
  } finally {
    await keyGeneration.close();
  }
  const root = await holdRootCeremony(ceremony, requests);
  const hsm = await openConfiguredKeyStore(data, config);
  try {
    await certifySigners(ceremony, hsm);
    await openForBusiness(ceremony, hsm);
    const operators = await found(ceremony);
    return {
      data,
      realm: config.realm,
      rootFingerprint: certificateFingerprint(root),
      ceremonies: ceremony.records,
      operators,
    };
  } finally {
    await hsm.close();
  }
}

/**
 * Errors: `data.initialised` when there is a realm already, `hsm.module-missing`, `input.invalid`, `config.invalid`. A
 * failure on the way leaves a directory without its configuration file, which the next attempt refuses to build on.
 */
export async function initialise(options: InitOptions): Promise<InitResult> {
  const data = dataDirectory(options.directory);
  if (await exists(data.config)) throw new CroupierError('data.initialised', `${data.root} holds a realm already`);
  if (await exists(path.join(data.hsm, 'pin'))) {
    throw new CroupierError(
      'data.initialised',
      `${data.root} holds the remains of a ceremony that was broken off; remove the directory, or use another one`,
    );
  }
  const module = findSoftHsmModule();
  const realm = parseWith(Realm, options.realm, 'input.invalid', 'realm');
  const document = {
    realm,
    operator: options.operator,
    names: [...options.names],
    listen: { ...options.listen },
    hsm: { module, token: `croupier-${realm}`, pinFile: 'hsm/pin', signing: 'sync' as const },
  };
  parseWith(Config, document, 'input.invalid', 'configuration');
  if (options.policy !== undefined) parsePolicy(options.policy);
  await makeDataDirectory(data);
  await prepareSoftHsm({ directory: data.hsm, module });
  const config = resolveConfig(data, document);
  const store = await openSqliteStore({ path: config.store.path, realm, busyTimeoutMs: config.store.busyTimeout });
  try {
    const setting: CeremonySetting = {
      realm,
      operator: options.operator,
      performedBy: options.founders.map(({ name }) => name),
      now: options.clock.now(),
      randomBytes: (length) => randomBytes(length),
      recordIntent: async ({ serialNumber, tbs }) => {
        const details = { tbs: createHash('sha256').update(tbs).digest('hex') };
        await store.appendAudit(
          [
            {
              action: 'certificate.intend',
              outcome: 'success',
              actor: CONSOLE,
              object: { type: 'certificate', id: serialNumber },
              details,
            },
          ],
          options.clock.now(),
        );
      },
    };
    const result = await hold({ options, data, config, store, module, setting, records: [] });
    // Last, since whoever finds this file takes the realm for complete.
    await writeConfig(data, document);
    return result;
  } finally {
    await store.close();
  }
}
