/** What the runs of the property share: who is on the floor, and a realm to start from. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { IdentitySlot } from '#agent/state/state.ts';
import { KEK_LABEL } from '#gateway/keys/working-key.ts';
import type { Authority } from '#gateway/operators/command.ts';
import { parsePolicy, policyApplyCommand } from '#gateway/operators/policy-command.ts';
import { openDatabase, storeOn } from '#gateway/store/sqlite/open.ts';
import { publishTrustBundle } from '#gateway/trust/publish.ts';
import { deviceUri } from '#pki/certificate/device-uri.ts';
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import { exportPrivateKeyPem, generateSoftwareKey } from '#pki/keys/software-key.ts';
import { DeviceId, KeySetName, Serial, Sha256 } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import type { Policy } from '#schema/policy.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { MessageAuthority } from '#test/support/message-authority.ts';

export const WALLET = KeySetName.parse('wallet-kek');
export const REPORT_MAC = KeySetName.parse('report-mac');
export const EGM_1 = DeviceId.parse('egm-1');
export const SERVICE_1 = DeviceId.parse('service-1');
export const DEVICES = [EGM_1, DeviceId.parse('egm-2'), SERVICE_1];
export const isService = (device: DeviceId): boolean => device.startsWith('service');

const POLICY = `version: 1
classes:
  egm: { keyTypes: [EC-P256], validity: 365d }
  service: { keyTypes: [EC-P256], validity: 365d }
keySets:
  wallet-kek: { algorithm: AES-256, use: wrap, scope: shared }
  report-mac: { algorithm: HMAC-SHA256, use: mac, scope: per-device, selector: { class: [egm] } }
delivery: { resendAfter: 10s, resendMax: 60s }
rollouts: { plans: { default: { timeout: 120s, success: 0, errors: 1 } } }
`;

export const ADA: Authority = { actor: { type: 'operator', id: 'ada', role: 'key-admin' }, approval: undefined };
/** What all runs share, since ceremonies take time: a realm, devices with certificates, a database to start from. */
export class FloorTemplate {
  readonly authority: MessageAuthority;
  readonly policy: Policy = parsePolicy(POLICY);
  readonly directory: string;
  readonly identities: ReadonlyMap<DeviceId, IdentitySlot>;
  readonly signers: readonly MessageSigner[];
  readonly database: string;

  private constructor(
    authority: MessageAuthority,
    directory: string,
    identities: ReadonlyMap<DeviceId, IdentitySlot>,
    signers: readonly MessageSigner[],
  ) {
    this.authority = authority;
    this.directory = directory;
    this.identities = identities;
    this.signers = signers;
    this.database = path.join(directory, 'template.db');
  }

  get start(): Date {
    return new Date(this.authority.pki.setting.now.getTime() + 60_000);
  }

  static async make(): Promise<FloorTemplate> {
    const authority = await MessageAuthority.create();
    await authority.pki.hsm.generateWrappingKey(KEK_LABEL);
    const names = Array.from({ length: 8 }, (_, index) => `signer ${index}`);
    const signers = await Promise.all(names.map((name) => authority.newSigner(name)));
    const identities = new Map<DeviceId, IdentitySlot>();
    for (const id of DEVICES) identities.set(id, await identityOf(authority, id));
    const template = new FloorTemplate(
      authority,
      await mkdtemp(path.join(tmpdir(), 'croupier-floor-')),
      identities,
      signers,
    );
    await template.fill();
    return template;
  }

  remove(): Promise<void> {
    return rm(this.directory, { recursive: true, force: true });
  }

  private async fill(): Promise<void> {
    const { authority, start } = this;
    const clock = new ManualClock(start);
    const sqlite = openDatabase(this.database, 1_000);
    const store = await storeOn(sqlite, authority.realm, clock);
    const ports = { realm: authority.realm, store, clock, policy: () => this.policy, keyStore: authority.pki.hsm };
    await policyApplyCommand({ ...ports, onApplied: () => undefined }).execute(
      { document: POLICY, replaces: null },
      ADA,
    );
    await publishTrustBundle(ports, { ...bundleParts(this, 0), actor: ADA.actor, approval: undefined });
    const event = { action: 'test.enrol', outcome: 'success', actor: ADA.actor } as const;
    const rows = DEVICES.map((id) =>
      InventoryRow.parse({ id, class: classOf(id), site: 'main', serial: id, labels: {} }),
    );
    await store.importDevices(rows, start, event);
    for (const [device, { certificate }] of this.identities) {
      const { serialNumber, notBefore, notAfter, spkiSha256 } = parseCertificate(certificate);
      const [serial, spki] = [Serial.parse(serialNumber), Sha256.parse(spkiSha256)];
      const intent = {
        freshStart: true,
        serial,
        device,
        issuer: 'device-ca',
        csrSha256: spki,
        spkiSha256: spki,
        tbs: certificate,
        notBefore,
        notAfter,
        createdAt: start,
      };
      const query = { device, csrSha256: spki, spkiSha256: spki, presented: undefined };
      await store.decideEnrolment(query, () => ({
        kind: 'issue',
        intent,
        ticket: undefined,
        request: undefined,
        audit: [event],
      }));
      await store.completeCertificate(
        serial,
        certificate,
        Sha256.parse(certificateFingerprint(certificate)),
        start,
        event,
      );
      await store.promoteCertificate(serial, start);
    }
    sqlite.pragma('wal_checkpoint(TRUNCATE)');
    await store.close();
  }
}

const classOf = (device: DeviceId): string => device.replace(/-\d+$/, '');

async function identityOf(authority: MessageAuthority, id: DeviceId): Promise<IdentitySlot> {
  const { privateKey, signer } = await generateSoftwareKey('EC-P256');
  const name = { realm: authority.realm, site: 'main', class: classOf(id), id };
  const certificate = await authority.pki.issueDevice(signer.spki, {
    subject: { commonName: id, organizationalUnit: name.class, organization: authority.pki.setting.operator },
    subjectAltNames: [{ type: 'uri', value: deviceUri(name) }],
  });
  return { privateKey: exportPrivateKeyPem(privateKey), certificate, chain: [authority.pki.deviceCa.certificate] };
}

/** The bundle whose current signer has this number; the next one stands by. */
export function bundleParts({ authority, signers }: FloorTemplate, generation: number) {
  const { root, deviceCa, operationsCa } = authority.pki;
  const current = signers[generation];
  const standby = signers[generation + 1];
  if (current === undefined || standby === undefined) throw new Error('there are no more signers');
  const anchors = {
    identity: [deviceCa.certificate],
    transport: [root.certificate],
    messages: [operationsCa.certificate],
    others: {},
  };
  return { anchors, current, standby };
}
