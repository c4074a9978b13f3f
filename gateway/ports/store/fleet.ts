import type { DeviceId, KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import type { InventoryRow } from '#schema/inventory.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type {
  Audited,
  CertificateRecord,
  DeviceKeyVersion,
  DeviceRecord,
  DeviceState,
  RolloutTarget,
  SyncRecord,
  TicketRecord,
} from './records.ts';

export interface DeviceFilter {
  readonly class?: string | undefined;
  readonly site?: string | undefined;
  readonly state?: DeviceState['kind'] | undefined;
  readonly connected?: boolean | undefined;
  /** Only ids after this one (keyset pagination). */
  readonly after?: string | undefined;
  readonly limit: number;
}

export interface DeviceSummary {
  readonly device: DeviceRecord;
  readonly connected: boolean;
  readonly lastSeenAt: Date | undefined;
  readonly trustVersion: number;
}

export interface DeviceDetail {
  readonly device: DeviceRecord;
  readonly sync: SyncRecord;
  readonly versions: readonly DeviceKeyVersion[];
  readonly certificates: readonly CertificateRecord[];
  readonly targets: readonly RolloutTarget[];
}

export type DeviceOutcome =
  | ({
      readonly kind: 'change';
      readonly state: DeviceState;
      readonly revokeCertificates: string | undefined;
      /** Forget what the device reported: its history starts anew. */ readonly resetHistory: boolean;
    } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: Error } & Audited);

export interface FleetStore {
  /** Adds all rows or none. Errors: `device.exists`, naming the first one. */
  importDevices(rows: readonly InventoryRow[], at: Date, audit: AuditEvent): Promise<void>;
  device(id: DeviceId): Promise<DeviceDetail | undefined>;
  deviceRecord(id: DeviceId): Promise<DeviceRecord | undefined>;
  devices(filter: DeviceFilter): Promise<readonly DeviceSummary[]>;
  deviceCounts(): Promise<{
    readonly total: number;
    readonly connected: number;
    readonly byState: Readonly<Record<string, number>>;
  }>;
  /** Quarantine, release and revocation. */
  decideDevice(
    id: DeviceId,
    at: Date,
    decide: (device: DeviceRecord | undefined) => DeviceOutcome,
  ): Promise<DeviceOutcome>;
  addTicket(
    ticket: Omit<TicketRecord, 'consumedAt' | 'consumedCsr'> & { readonly createdAt: Date },
    audit: AuditEvent,
  ): Promise<void>;
  /** How many devices are in each state of each version of a key set. */
  versionCounts(
    keySet: KeySetName,
  ): Promise<readonly { readonly version: KeyVersionNumber; readonly state: string; readonly devices: number }[]>;
}
