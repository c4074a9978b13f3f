/** What a seed says about a floor: which devices there are and how each of them is. Pure. */
import { DeviceId, SiteName } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { BEHAVIOUR_KINDS, ordinaryBehaviour, type Behaviour, type BehaviourKind } from './behaviour.ts';
import { compositionOf, FLOOR_CLASSES, type Composition, type FloorClass } from './composition.ts';
import { draw, pick, sample } from './draw.ts';

export interface DevicePlan {
  readonly row: InventoryRow;
  readonly id: DeviceId;
  readonly class: FloorClass;
  readonly keyAlgorithm: KeyAlgorithm;
  readonly behaviours: readonly Behaviour[];
}

/** Percentages of the floor. Services never go off, and never have another fault: what they hold decides rotations. */
export type BehaviourShares = Readonly<Partial<Record<BehaviourKind, number>>>;

export interface FloorPlanOptions {
  readonly seed: string;
  readonly size: number | Composition;
  readonly shares?: BehaviourShares;
  /** For dead clocks that are ahead of time. */
  readonly now: Date;
}

const PREFIX: Readonly<Record<FloorClass, string>> = { egm: 'EGM', kiosk: 'KSK', pos: 'POS', service: 'SVC' };
const SITES = ['riverside', 'harbour', 'old-town'] as const;
const ZONES = ['main', 'high-limit', 'terrace', 'non-smoking'] as const;
const VENDORS = ['aurora', 'meridian', 'northgate', 'solis'] as const;
const APPLICATIONS = ['wallet', 'jackpot'] as const;

/** RSA keys take a hundred times as long to make, and few slot machines still have them. */
const RSA_SHARE = 0.03;
const P384_SHARE = 0.05;

function keyAlgorithm(seed: string, deviceClass: FloorClass, id: string): KeyAlgorithm {
  const fraction = draw(seed, 'key', id);
  if (deviceClass === 'egm' && fraction < RSA_SHARE) return 'RSA-2048';
  return deviceClass === 'kiosk' && fraction < P384_SHARE ? 'EC-P384' : 'EC-P256';
}

function inventoryRow(seed: string, deviceClass: FloorClass, number: number): InventoryRow {
  const id = `${PREFIX[deviceClass]}-${String(number).padStart(6, '0')}`;
  const vendor = pick(VENDORS, draw(seed, 'vendor', id));
  const digits = String(Math.floor(draw(seed, 'serial', id) * 1e8)).padStart(8, '0');
  const labels: Record<string, string> =
    deviceClass === 'service'
      ? { application: APPLICATIONS[(number - 1) % APPLICATIONS.length] ?? APPLICATIONS[0] }
      : {
          vendor,
          zone: pick(ZONES, draw(seed, 'zone', id)),
          bank: String(1 + Math.floor(draw(seed, 'bank', id) * 40)).padStart(2, '0'),
        };
  return {
    id: DeviceId.parse(id),
    class: InventoryRow.shape.class.parse(deviceClass),
    site: SiteName.parse(pick(SITES, draw(seed, 'site', id))),
    serial: `${vendor.slice(0, 3).toUpperCase()}${digits}`,
    labels,
  };
}

function behavioursOf(
  seed: string,
  rows: readonly { readonly id: string; readonly class: string }[],
  shares: BehaviourShares,
  now: Date,
): ReadonlyMap<string, readonly Behaviour[]> {
  const found = new Map<string, Behaviour[]>();
  const candidates = rows.filter((row) => row.class !== 'service');
  for (const kind of BEHAVIOUR_KINDS) {
    const count = Math.round(((shares[kind] ?? 0) / 100) * rows.length);
    for (const { id } of sample(candidates, count, (row) => row.id, seed, kind)) {
      const behaviours = found.get(id) ?? [];
      behaviours.push(ordinaryBehaviour(kind, draw(seed, kind, 'value', id), now));
      found.set(id, behaviours);
    }
  }
  return found;
}

/**
 * The floor of this seed. Ids do not depend on the seed; everything else does, device by device, so that a larger
 * floor of the same seed holds the smaller one. Errors: `input.invalid` for a size that cannot be.
 */
export function planFloor({ seed, size, shares = {}, now }: FloorPlanOptions): readonly DevicePlan[] {
  const composition = typeof size === 'number' ? compositionOf(size) : size;
  const rows = FLOOR_CLASSES.flatMap((deviceClass) =>
    Array.from({ length: composition[deviceClass] }, (_, index) => ({
      deviceClass,
      row: inventoryRow(seed, deviceClass, index + 1),
    })),
  );
  const behaviours = behavioursOf(
    seed,
    rows.map(({ row }) => row),
    shares,
    now,
  );
  return rows.map(({ deviceClass, row }) => ({
    row,
    id: row.id,
    class: deviceClass,
    keyAlgorithm: keyAlgorithm(seed, deviceClass, row.id),
    behaviours: behaviours.get(row.id) ?? [],
  }));
}

/** The devices that are switched off, `percent` of the floor; never a service. */
export function chooseOffline(plans: readonly DevicePlan[], seed: string, percent: number): readonly DevicePlan[] {
  const candidates = plans.filter((plan) => plan.class !== 'service');
  const count = Math.min(candidates.length, Math.round((plans.length * percent) / 100));
  return sample(candidates, count, (plan) => plan.id, seed, 'switched-off');
}
