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
  /** The id without the prefix of the floor: what the seed draws by. */
  readonly name: string;
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
  /** Goes before every id, for a floor beside others at one gateway. */
  readonly prefix?: string;
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

const nameOf = (deviceClass: FloorClass, number: number): string =>
  `${PREFIX[deviceClass]}-${String(number).padStart(6, '0')}`;

function inventoryRow(seed: string, deviceClass: FloorClass, number: number, prefix: string): InventoryRow {
  const id = nameOf(deviceClass, number);
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
    id: DeviceId.parse(`${prefix}${id}`),
    class: InventoryRow.shape.class.parse(deviceClass),
    site: SiteName.parse(pick(SITES, draw(seed, 'site', id))),
    serial: `${vendor.slice(0, 3).toUpperCase()}${digits}`,
    labels,
  };
}

function behavioursOf(
  seed: string,
  devices: readonly { readonly name: string; readonly deviceClass: FloorClass }[],
  shares: BehaviourShares,
  now: Date,
): ReadonlyMap<string, readonly Behaviour[]> {
  const found = new Map<string, Behaviour[]>();
  const candidates = devices.filter(({ deviceClass }) => deviceClass !== 'service');
  for (const kind of BEHAVIOUR_KINDS) {
    const count = Math.round(((shares[kind] ?? 0) / 100) * devices.length);
    if (count === 0) continue;
    for (const { name } of sample(candidates, count, (device) => device.name, seed, kind)) {
      const behaviours = found.get(name) ?? [];
      behaviours.push(ordinaryBehaviour(kind, draw(seed, kind, 'value', name), now));
      found.set(name, behaviours);
    }
  }
  return found;
}

/**
 * The floor of this seed. Ids do not depend on the seed; everything else does, device by device, so that a larger
 * floor of the same seed holds the smaller one. Errors: `input.invalid` for a size that cannot be.
 */
export function planFloor({ seed, size, shares = {}, prefix = '', now }: FloorPlanOptions): readonly DevicePlan[] {
  const composition = typeof size === 'number' ? compositionOf(size) : size;
  const rows = FLOOR_CLASSES.flatMap((deviceClass) =>
    Array.from({ length: composition[deviceClass] }, (_, index) => ({
      deviceClass,
      name: nameOf(deviceClass, index + 1),
      row: inventoryRow(seed, deviceClass, index + 1, prefix),
    })),
  );
  const behaviours = behavioursOf(seed, rows, shares, now);
  return rows.map(({ deviceClass, name, row }) => ({
    row,
    id: row.id,
    name,
    class: deviceClass,
    keyAlgorithm: keyAlgorithm(seed, deviceClass, name),
    behaviours: behaviours.get(name) ?? [],
  }));
}

/** The devices that are switched off, `percent` of the floor; never a service. */
export function chooseOffline(plans: readonly DevicePlan[], seed: string, percent: number): readonly DevicePlan[] {
  return chooseDevices(plans, Math.round((plans.length * percent) / 100), seed, 'switched-off');
}

/** So many devices, or all there are, drawn for this purpose; never a service. */
export function chooseDevices(
  plans: readonly DevicePlan[],
  count: number,
  seed: string,
  purpose: string,
): readonly DevicePlan[] {
  const candidates = plans.filter((plan) => plan.class !== 'service');
  return sample(candidates, Math.min(candidates.length, count), (plan) => plan.name, seed, purpose);
}
